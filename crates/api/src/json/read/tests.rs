//! The reader against tables, and against a second parser.

use super::*;

fn amount(text: &str) -> Result<Amount> {
    Reader::document(text.as_bytes(), Reader::amount)
}

#[test]
fn the_amount_corpus_is_exact_or_refused() {
    for (text, nanos) in [
        ("5", 5_000_000_000),
        ("5.0", 5_000_000_000),
        ("\"5\"", 5_000_000_000),
        ("\"5.00\"", 5_000_000_000),
        ("0", 0),
        ("0.02", 20_000_000),
        (" 0.000000001 ", 1),
        ("999999999999999999.999999999", 999_999_999_999_999_999_999_999_999),
        ("\"\\u0035\"", 5_000_000_000),
    ] {
        assert_eq!(amount(text), Ok(Amount::from_nanos(nanos)), "{text}");
    }
    let refused = [
        "1e1000000",
        "1E-28",
        "1e2",
        "1E+2",
        "0.1234567890",
        "0.00000000000000000000000000001",
        "1_000",
        "+1",
        "-0",
        "-1",
        "\u{661}\u{662}",
        "NaN",
        "Infinity",
        "79228162514264337593543950335",
        "1000000000000000000",
        ".5",
        "5.",
        "",
        "007",
        "0x10",
        "1,5",
        "null",
        "true",
        "[]",
        "{}",
        "5 5",
        "--1",
        "1.2.3",
        "\u{ff15}",
        "1f",
        "١٢",
    ];
    for text in refused {
        let invalid = amount(text).expect_err(text);
        assert!(!invalid.message.is_empty() && invalid.path == "$", "{text}");
        let quoted = format!("\"{text}\"");
        assert!(amount(&quoted).is_err(), "{quoted}");
    }
    for text in ["\" 5\"", "\"5 \"", "\"\"", "\"5\\n\"", "\"0x5\"", "\"1e2\""] {
        assert!(amount(text).is_err(), "{text}");
    }
}

#[test]
fn errors_name_the_path_and_the_advice() {
    // The document is an object with `list`, an array of objects with a boolean `flag`.
    let read = |text: &str| {
        Reader::document(text.as_bytes(), |r| {
            let mut list = Slot::Missing;
            r.object(|r, field| match field {
                "list" => list.set(r, |r| {
                    r.array(|r, _| {
                        let mut flag = Slot::Missing;
                        r.object(|r, field| match field {
                            "flag" => flag.set(r, Reader::boolean),
                            other => Err(r.unknown_field(other, &["flag"])),
                        })?;
                        flag.required(r, "flag").map(drop)
                    })
                }),
                other => Err(r.unknown_field(other, &["list"])),
            })?;
            list.required(r, "list")
        })
    };
    assert_eq!(read(r#"{"list":[{"flag":true},{"flag" : false}]}"#), Ok(()));
    assert_eq!(read(r#" { "\u006cist" : [ ] } "#), Ok(()));
    for (text, path, word) in [
        ("{}", "$.list", "required"),
        (r#"{"list":null}"#, "$.list", "required"),
        (r#"{"list":[],"list":[]}"#, "$.list", "twice"),
        (r#"{"list":null,"list":[]}"#, "$.list", "twice"),
        (r#"{"lost":[]}"#, "$.lost", "Did you mean \"list\"?"),
        (r#"{"x y":[]}"#, "$[\"x y\"]", "Known fields: list"),
        (r#"{"list":{}}"#, "$.list", "Must be an array, but an object was sent"),
        (r#"{"list":[{"flag":"true"}]}"#, "$.list[0].flag", "but a string was sent"),
        (r#"{"list":[{"flag":true},{"flag":1}]}"#, "$.list[1].flag", "but a number was sent"),
        (r#"{"list":[{"flag":true},{}]}"#, "$.list[1].flag", "required"),
        (r#"{"list":[{"flag":true},]}"#, "$.list[1]", "Must be an object"),
        (r#"{"list":[{"flag":true}"#, "$.list[0]", "closing bracket"),
        (r#"{"list":[]"#, "$.list", "closing brace"),
        (r#"{"list":[],}"#, "$.list", "field name"),
        (r#"{list:[]}"#, "$[?]", "field name"),
        (r#"{"list" []}"#, "$[?]", "colon"),
        (r#"{"list":[]} x"#, "$", "behind the end"),
        (r#"{"list":[{"flag":tru}]}"#, "$.list[0].flag", "true or false"),
        (r#"{"list":[{"flag":trueish}]}"#, "$.list[0].flag", "closing brace"),
        ("{\"li\u{1}st\":[]}", "$[?]", "control character"),
        (r#"{"list\x":[]}"#, "$[?]", "escape"),
        ("", "$", "the end of the text"),
        ("\u{feff}{}", "$", "not JSON"),
    ] {
        let invalid = read(text).expect_err(text);
        assert_eq!(invalid.path, path, "{text}: {}", invalid.message);
        assert!(invalid.message.contains(word), "{text}: {}", invalid.message);
    }
    let invalid = Reader::new(b"{\"list\":\"\xff\"}").err().expect("not UTF-8");
    assert!(invalid.message.contains("byte 9"), "{}", invalid.message);
}

#[test]
fn whole_numbers_have_digits_only() {
    let read = |text: &str| Reader::document(text.as_bytes(), Reader::whole_number);
    assert_eq!(read("0"), Ok(0));
    assert_eq!(read("18446744073709551615"), Ok(u64::MAX));
    for text in ["18446744073709551616", "-1", "1.0", "1e2", "01", "\"1\"", "-"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn suggestions_are_close_or_absent() {
    for (name, expected) in [("amout", Some("amount")), ("Amount", Some("amount")), ("xyz", None), ("", None)]
    {
        assert_eq!(nearest(name, &["amount", "currency"]), expected, "{name}");
    }
    assert_eq!(nearest(&"x".repeat(100_000), &["amount"]), None, "cost is bounded");
}

/// Mutated documents: this reader must accept nothing that `serde_json` refuses, read every string as it does, and
/// never panic. It refuses more (duplicate names, depth), so the other direction is not expected.
#[test]
fn accepts_a_subset_of_what_serde_json_accepts() {
    const SEED: u64 = 0x5eed_0001;
    const ROUNDS: usize = 60_000;
    eprintln!("seed {SEED:#x}; replay: cargo test -p api accepts_a_subset_of_what_serde_json_accepts");
    let corpus = [
        r#"{"a":[1,2.50,-3e4,true,false,null],"b":{"c":"d\u00e9\ud83d\ude00\n\"\\"},"":{}}"#,
        r#"{"from_wallet_id":"wallet_1","amount":0.02,"metadata":{"k":[{},[],""]}}"#,
        r#" { "x" : [ [ [ ] ] ] , "y" : -0.0e-0 } "#,
    ];
    let alphabet = br#"{}[],:"\u0dDe+-.19 tfn/ "#;
    let mut state = SEED;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    let mut accepted = 0;
    for round in 0..ROUNDS {
        let mut text = corpus[round % corpus.len()].as_bytes().to_vec();
        for _ in 0..random(4) {
            let at = random(text.len());
            match random(3) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, alphabet[random(alphabet.len())]),
                _ => text[at] = alphabet[random(alphabet.len())],
            }
        }
        let ours = Reader::document(&text, |r| crate::json::raw::RawObject::read(r, 1 << 20));
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        if let Ok(ours) = ours {
            accepted += 1;
            let shown = String::from_utf8_lossy(&text).into_owned();
            let theirs = theirs.unwrap_or_else(|error| panic!("round {round}: {shown}: {error}"));
            let again: serde_json::Value = serde_json::from_str(&ours.text).expect("compact text is JSON");
            assert_eq!(again, theirs, "round {round}: {shown}");
        }
    }
    assert!(accepted > ROUNDS / 10, "only {accepted} documents were accepted");
}

/// Against one byte after the other: every byte at every place, beside neighbours that could lead the arithmetic astray.
#[test]
fn the_end_of_usual_bytes_is_found_wherever_it_is() {
    let naive =
        |bytes: &[u8]| bytes.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0x00..=0x1f)).count();
    for neighbour in [b'a', b'!', b'#', b' ', b'[', b']', 0x7f, 0x80, 0xa2, 0xdc, 0xff, 0x1f, b'"'] {
        for (length, place) in (0..20).flat_map(|length| (0..length).map(move |place| (length, place))) {
            for byte in 0..=u8::MAX {
                let mut bytes = vec![neighbour; length];
                bytes[place] = byte;
                assert_eq!(usual_bytes(&bytes), naive(&bytes), "{bytes:?}");
            }
        }
    }
}
