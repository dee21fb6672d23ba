//! Text cells of CSV files, safe to open in a spreadsheet.

/// Appends a cell. One that a spreadsheet would take for a formula gets an apostrophe in front; one with separators or
/// quotes is quoted (RFC 4180). Numbers that we write ourselves do not go through here.
pub(crate) fn text(out: &mut Vec<u8>, cell: &str) {
    let defused = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = cell.contains(['"', ',', '\n', '\r']);
    if quoted {
        out.push(b'"');
    }
    if defused {
        out.push(b'\'');
    }
    for byte in cell.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    if quoted {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_defused_and_quoted() {
        for (cell, expected) in [
            ("", ""),
            ("merchant:demo", "merchant:demo"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=a\n", "\"'=a\n\""),
        ] {
            let mut out = Vec::new();
            text(&mut out, cell);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }
}
