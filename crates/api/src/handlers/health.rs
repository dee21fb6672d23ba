//! Health, readiness with progress, version. Answered at any time, without an engine and without credentials.

use engine::Phase;
use http::StatusCode;

use crate::{
    errors::Problem,
    gateway::Gateway,
    json::write::{AmountStyle, Writer},
    respond::Reply,
    routes::Operation,
};

pub(crate) fn answer(gateway: &Gateway, operation: Operation) -> Result<Reply, Problem> {
    let phase = gateway.status.phase();
    Ok(match operation {
        Operation::Version => version(gateway),
        Operation::Readiness => readiness(phase, gateway.attached.get().is_some()),
        _ => health(phase),
    })
}

/// The process works unless its log has failed; then it is about to exit.
fn health(phase: Phase) -> Reply {
    let failed = phase == Phase::Failed;
    let status = if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let mut writer = Writer::new(32, AmountStyle::Number);
    writer.object(|w| w.name("status").plain(if failed { "failed" } else { "ok" }));
    Reply::json(status, writer)
}

/// Ready means that requests are served, be it only reads.
fn readiness(phase: Phase, attached: bool) -> Reply {
    let (ready, name) = match phase {
        Phase::Recovering { .. } => (false, "recovering"),
        Phase::Ready if attached => (true, "ready"),
        Phase::ReadOnly if attached => (true, "read_only"),
        Phase::Ready | Phase::ReadOnly => (false, "starting"),
        Phase::Failed => (false, "failed"),
        Phase::Stopping => (false, "stopping"),
        Phase::Stopped => (false, "stopped"),
    };
    let mut writer = Writer::new(128, AmountStyle::Number);
    writer.object(|w| {
        w.name("ready").boolean(ready);
        w.name("status").plain(name);
        if let Phase::Recovering { replayed_bytes, total_bytes } = phase {
            w.name("replayed_bytes").integer(replayed_bytes);
            w.name("total_bytes").integer(total_bytes);
            let percent = replayed_bytes.saturating_mul(100).checked_div(total_bytes).unwrap_or(0).min(100);
            w.name("percent").integer(percent);
        }
    });
    Reply::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, writer)
}

fn version(gateway: &Gateway) -> Reply {
    let mut writer = Writer::new(96, AmountStyle::Number);
    writer.object(|w| {
        w.name("name").plain("agentpay");
        w.name("version").plain(env!("CARGO_PKG_VERSION"));
        w.name("commit").optional_string(gateway.settings.commit.as_deref());
    });
    Reply::json(StatusCode::OK, writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_follows_the_phase() {
        for (phase, attached, status, word) in [
            (Phase::Recovering { replayed_bytes: 25, total_bytes: 100 }, false, 503, "\"percent\":25"),
            (Phase::Recovering { replayed_bytes: 0, total_bytes: 0 }, false, 503, "\"percent\":0"),
            (Phase::Ready, false, 503, "\"ready\":false"),
            (Phase::Ready, true, 200, "\"ready\":true"),
            (Phase::ReadOnly, true, 200, "\"status\":\"read_only\""),
            (Phase::Failed, true, 503, "\"status\":\"failed\""),
            (Phase::Stopping, true, 503, "\"status\":\"stopping\""),
            (Phase::Stopped, true, 503, "\"status\":\"stopped\""),
        ] {
            let reply = readiness(phase, attached);
            assert_eq!(reply.status.as_u16(), status, "{phase:?}");
            let text = String::from_utf8(reply.body).expect("UTF-8");
            assert!(text.contains(word), "{phase:?}: {text}");
        }
    }

    #[test]
    fn only_a_failed_log_is_unhealthy() {
        assert_eq!(health(Phase::Failed).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health(Phase::Recovering { replayed_bytes: 0, total_bytes: 0 }).status, StatusCode::OK);
    }
}
