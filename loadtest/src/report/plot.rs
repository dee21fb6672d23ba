//! Line plots as inline SVG: drawn twice, wide and narrow, because text that is scaled down with its picture cannot be
//! read on a phone. Colours come from the page's style, so that one drawing serves light and dark.

use std::fmt::Write as _;

use super::html::escape;
use super::number::short;

/// How an axis maps values to places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    Log,
    /// Quantiles below 1: each nine takes the same room.
    Nines,
}

#[derive(Debug, Clone)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    /// Unit of the values, also in tooltips.
    pub y_label: String,
    pub x_scale: Scale,
    pub y_scale: Scale,
    pub series: Vec<Series>,
    /// A range of x that is drawn as something else, with its name: the warm-up.
    pub shaded: Option<(f64, f64, String)>,
    /// Moments on the x axis, with one name for all: kills.
    pub marks: Option<(Vec<f64>, String)>,
}

#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    /// In the order of x; what is not finite makes a gap.
    pub points: Vec<(f64, f64)>,
}

/// Room around the drawing.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

impl Plot {
    /// A figure with title, legend and both drawings.
    pub(super) fn render(&self, out: &mut String) {
        let title = escape(&self.title);
        write!(
            out,
            "<figure><figcaption>{title}<span class=\"unit\">{}</span></figcaption>",
            escape(&self.y_label)
        )
        .expect("writing to a String cannot fail");
        self.legend(out);
        self.draw(760.0, 300.0, "wide", out);
        self.draw(380.0, 280.0, "narrow", out);
        out.push_str("</figure>\n");
    }

    fn legend(&self, out: &mut String) {
        let mut entries: Vec<(String, &str)> = Vec::new();
        if self.series.len() > 1 {
            let lines = self.series.iter().enumerate();
            entries.extend(lines.map(|(index, line)| (format!("key s{}", index + 1), line.name.as_str())));
        }
        entries.extend(self.shaded.iter().map(|(_, _, name)| ("key area".to_owned(), name.as_str())));
        let marks = self.marks.iter().filter(|(at, _)| !at.is_empty());
        entries.extend(marks.map(|(_, name)| ("key mark".to_owned(), name.as_str())));
        if entries.is_empty() {
            return;
        }
        out.push_str("<p class=\"legend\">");
        for (class, name) in entries {
            write!(out, "<span><i class=\"{class}\"></i>{}</span>", escape(name))
                .expect("writing to a String cannot fail");
        }
        out.push_str("</p>");
    }

    fn draw(&self, width: f64, height: f64, class: &str, out: &mut String) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let is_usable = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
        let x = Axis::new(self.x_scale, points().filter(is_usable).map(|(x, _)| *x), (LEFT, width - RIGHT));
        let y = Axis::new(self.y_scale, points().filter(is_usable).map(|(_, y)| *y), (height - BOTTOM, TOP));
        write!(
            out,
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        )
        .expect("writing to a String cannot fail");
        let (Some(x), Some(y)) = (x, y) else {
            write!(out, "<text x=\"{LEFT}\" y=\"40\">nothing was measured</text></svg>")
                .expect("writing to a String cannot fail");
            return;
        };
        self.grid(&x, &y, (width, height), out);
        for (index, series) in self.series.iter().enumerate() {
            let class = format!("line s{}", index + 1);
            line(&series.points, &x, &y, &class, out);
            if class_is_wide(width) || series.points.len() <= 24 {
                self.dots(series, index, &x, &y, out);
            }
        }
        out.push_str("</svg>");
    }

    fn grid(&self, x: &Axis, y: &Axis, (width, height): (f64, f64), out: &mut String) {
        let mut add = |text: String| out.push_str(&text);
        if let Some((from, to, _)) = &self.shaded {
            let (from, to) = (x.place(*from), x.place(*to));
            let (length, tall) = ((to - from).max(0.0), height - BOTTOM - TOP);
            add(format!(
                "<rect class=\"area\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{length:.1}\" height=\"{tall:.1}\"/>"
            ));
        }
        let (right, base) = (width - RIGHT, height - BOTTOM);
        for (value, text) in y.ticks(5) {
            let at = y.place(value);
            add(format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>"));
            add(format!("<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", LEFT - 8.0, at + 4.0));
        }
        for (value, text) in self.x_ticks(x, width) {
            let at = x.place(value);
            add(format!("<path class=\"tick\" d=\"M{at:.1} {base}v4\"/>"));
            add(format!("<text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>", base + 18.0));
        }
        for at in self.marks.iter().flat_map(|(marks, _)| marks) {
            add(format!("<path class=\"mark\" d=\"M{:.1} {TOP}V{base}\"/>", x.place(*at)));
        }
        add(format!("<path class=\"axis\" d=\"M{LEFT} {base}H{right}\"/>"));
        let middle = (LEFT + right) / 2.0;
        let label = escape(&self.x_label);
        add(format!(
            "<text class=\"middle label\" x=\"{middle:.1}\" y=\"{:.1}\">{label}</text>",
            height - 4.0
        ));
    }

    /// A curve over few chosen values is marked at those; they are what a reader looks for.
    fn x_ticks(&self, x: &Axis, width: f64) -> Vec<(f64, String)> {
        let wanted = if class_is_wide(width) { 8 } else { 4 };
        let longest = self.series.iter().max_by_key(|series| series.points.len());
        match longest {
            Some(series) if self.x_scale == Scale::Log && series.points.len() <= 16 => {
                let step = series.points.len().div_ceil(if class_is_wide(width) { 16 } else { 6 }).max(1);
                series.points.iter().step_by(step).map(|(at, _)| (*at, x.name(*at))).collect()
            }
            _ => x.ticks(wanted),
        }
    }

    /// Points that show their values under the pointer; visible where they are few.
    fn dots(&self, series: &Series, index: usize, x: &Axis, y: &Axis, out: &mut String) {
        let class =
            if series.points.len() <= 24 { format!("dot s{}", index + 1) } else { "hover".to_owned() };
        let radius = if series.points.len() <= 24 { 3.5 } else { 7.0 };
        for (at, value) in series.points.iter().filter(|(at, value)| at.is_finite() && value.is_finite()) {
            let title = format!(
                "{}{}: {} {}",
                if self.series.len() > 1 { format!("{}, ", series.name) } else { String::new() },
                x.name(*at),
                short(*value),
                self.y_label
            );
            write!(
                out,
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}</title></circle>",
                x.place(*at),
                y.place(*value),
                escape(&title)
            )
            .expect("writing to a String cannot fail");
        }
    }
}

fn class_is_wide(width: f64) -> bool {
    width > 500.0
}

fn line(points: &[(f64, f64)], x: &Axis, y: &Axis, class: &str, out: &mut String) {
    let mut path = String::new();
    let mut pen_is_down = false;
    for (at, value) in points {
        if !at.is_finite() || !value.is_finite() {
            pen_is_down = false;
            continue;
        }
        let command = if pen_is_down { 'L' } else { 'M' };
        write!(path, "{command}{:.1} {:.1}", x.place(*at), y.place(*value))
            .expect("writing to a String cannot fail");
        pen_is_down = true;
    }
    write!(out, "<path class=\"{class}\" d=\"{path}\"/>").expect("writing to a String cannot fail");
}

/// One axis: the range of its values and where they lie.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    /// `None`: there are no values.
    fn new(scale: Scale, values: impl Iterator<Item = f64>, (begin, end): (f64, f64)) -> Option<Axis> {
        let values = values.filter(|value| scale != Scale::Log || *value > 0.0);
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        let (low, high) = match scale {
            // A twentieth of air, so that the highest value is not on the edge.
            Scale::Linear => (low.min(0.0), if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log if high < low * 1.5 => (low / 2.0, high * 2.0),
            Scale::Log => (low / 1.15, high * 1.15),
            Scale::Nines => (0.0, high),
        };
        Some(Axis { scale, low, high, begin, end })
    }

    fn place(&self, value: f64) -> f64 {
        let spread = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(self.low).log10(),
            Scale::Nines => nines(value),
        };
        let (low, high) = (spread(self.low), spread(self.high));
        let share = if high > low { (spread(value) - low) / (high - low) } else { 0.5 };
        self.begin + share.clamp(0.0, 1.0) * (self.end - self.begin)
    }

    /// A value of this axis in words.
    fn name(&self, value: f64) -> String {
        match self.scale {
            Scale::Nines => percent(value),
            _ => short(value),
        }
    }

    /// About as many ticks as wanted, at round values.
    fn ticks(&self, wanted: u32) -> Vec<(f64, String)> {
        let values = match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high, wanted),
            Scale::Log => log_ticks(self.low, self.high, wanted),
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                .into_iter()
                .filter(|quantile| *quantile <= self.high && (*quantile != 0.5 || wanted > 4))
                .collect(),
        };
        values.into_iter().map(|value| (value, self.name(value))).collect()
    }
}

fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

fn percent(quantile: f64) -> String {
    let text = format!("{:.5}", quantile * 100.0);
    format!("{}\u{202f}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn linear_ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(wanted);
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * magnitude).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * magnitude);
    let first = (low / step).ceil();
    let ticks = (0..50).map(|index| (first + f64::from(index)) * step);
    ticks.take_while(|tick| *tick <= high * (1.0 + 1e-9)).collect()
}

fn log_ticks(low: f64, high: f64, wanted: u32) -> Vec<f64> {
    let decades = (high / low).log10();
    let factors: &[f64] = match decades {
        _ if decades < 1.5 => &[1.0, 2.0, 5.0],
        _ if decades < 2.5 && wanted > 4 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let first = low.log10().floor();
    let all = (0..40).flat_map(|decade| {
        let magnitude = 10_f64.powf(first + f64::from(decade));
        factors.iter().map(move |factor| factor * magnitude)
    });
    all.skip_while(|tick| *tick < low).take_while(|tick| *tick <= high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(linear_ticks(0.0, 47_000.0, 5), [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0]);
        assert_eq!(linear_ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(log_ticks(0.05, 120.0, 5), [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(log_ticks(0.9, 12.0, 5), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn places_follow_the_scale() {
        let log = Axis::new(Scale::Log, [1.0, 100.0].into_iter(), (0.0, 100.0)).expect("values");
        assert!((log.place(10.0) - 50.0).abs() < 0.01, "{}", log.place(10.0));
        let nines = Axis::new(Scale::Nines, [0.0, 0.99].into_iter(), (0.0, 100.0)).expect("values");
        assert!((nines.place(0.9) - 50.0).abs() < 0.01);
        assert!(Axis::new(Scale::Log, [0.0].into_iter(), (0.0, 1.0)).is_none());
        let flat = Axis::new(Scale::Linear, [0.0].into_iter(), (0.0, 100.0)).expect("a value");
        assert!(flat.place(0.0).is_finite());
    }

    #[test]
    fn gaps_are_not_bridged_and_text_is_escaped() {
        let plot = Plot {
            title: "<script>".to_owned(),
            x_label: "s".to_owned(),
            y_label: "ms".to_owned(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            series: vec![Series {
                name: "a".to_owned(),
                points: vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 2.0)],
            }],
            shaded: Some((0.0, 1.0, "warm-up".to_owned())),
            marks: Some((vec![2.0], "kill".to_owned())),
        };
        let mut out = String::new();
        plot.render(&mut out);
        assert!(!out.contains("<script>"), "{out}");
        let path = out.split("class=\"line s1\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(path.map(|path| path.matches('M').count()), Some(2));
        assert!(!out.contains("NaN"), "{out}");
    }
}
