use super::*;

#[track_caller]
fn check(text: &str, expected: Result<i128, AmountError>) {
    assert_eq!(Amount::parse(text).map(Amount::nanos), expected, "{text:?}");
}

#[test]
fn exact_texts_are_read_to_the_last_digit() {
    check("0", Ok(0));
    check("0.0", Ok(0));
    check("5", Ok(5_000_000_000));
    check("0.02", Ok(20_000_000));
    check("5.020", Ok(5_020_000_000));
    check("10.5", Ok(10_500_000_000));
    check("0.000000001", Ok(1));
    check("1.000000000", Ok(1_000_000_000));
    check("999999999999999999", Ok(999_999_999_999_999_999_000_000_000));
    check("999999999999999999.999999999", Ok(Amount::MAX.nanos()));
}

#[test]
fn hostile_texts_are_refused() {
    use AmountError::{LeadingZeros, Malformed, TooManyDecimals, TooManyIntegerDigits};
    for text in ["1e1000000", "1E-28", "1e0", "1_000", "1,000", "+1", "-0", "-1", "NaN", "Infinity", "inf"] {
        check(text, Err(Malformed));
    }
    for text in [
        "", ".", ".5", "5.", "5..0", "5.0.0", " 5", "5 ", "5\n", "0x10", "١٢", "１２", "5٫0", "5.1e3",
        "\u{0}",
    ] {
        check(text, Err(Malformed));
    }
    for text in ["007", "00", "00.5", "01"] {
        check(text, Err(LeadingZeros));
    }
    for text in ["0.0000000001", "1.0000000000", "0.12345678901234567890123456789"] {
        check(text, Err(TooManyDecimals));
    }
    for text in
        ["1000000000000000000", "79228162514264337593543950335", "340282366920938463463374607431768211456"]
    {
        check(text, Err(TooManyIntegerDigits));
    }
    check(&"9".repeat(100_000), Err(TooManyIntegerDigits));
    check(&format!("0.{}", "0".repeat(100_000)), Err(TooManyDecimals));
}

#[test]
fn amounts_are_written_as_the_shortest_plain_decimal() {
    for (nanos, text) in [
        (0, "0"),
        (5_000_000_000, "5"),
        (20_000_000, "0.02"),
        (-1_500_000_000, "-1.5"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (100_000_000_000, "100"),
        (i128::from(u64::MAX), "18446744073.709551615"),
        (i128::from(u64::MAX) + 1, "18446744073.709551616"),
        (i128::MAX, "170141183460469231731687303715.884105727"),
        (i128::MIN, "-170141183460469231731687303715.884105728"),
    ] {
        let amount = Amount::from_nanos(nanos);
        assert_eq!(amount.to_string(), text);
        let mut out = b"x".to_vec();
        amount.write(&mut out);
        assert_eq!(out, format!("x{text}").into_bytes());
    }
}

#[test]
fn checked_arithmetic_reports_the_edges() {
    let (least, most, one) =
        (Amount::from_nanos(i128::MIN), Amount::from_nanos(i128::MAX), Amount::from_nanos(1));
    assert_eq!(most.checked_add(one), None);
    assert_eq!(least.checked_sub(one), None);
    assert_eq!(least.checked_neg(), None);
    assert_eq!(most.checked_neg(), least.checked_add(one));
    assert_eq!(one.checked_add(one), Some(Amount::from_nanos(2)));
    assert_eq!(one.minus(one), Amount::ZERO);
    assert_eq!(one.plus(one).negated(), Amount::from_nanos(-2));
    assert!(one.is_positive() && !one.is_negative() && !one.is_zero());
    assert!(least.is_negative() && !least.is_positive());
    assert!(Amount::ZERO.is_zero() && !Amount::ZERO.is_negative() && !Amount::ZERO.is_positive());
}

#[test]
#[should_panic(expected = "supply bound")]
fn a_sum_beyond_the_supply_bound_stops_the_process() {
    let _ = Amount::from_nanos(i128::MAX).plus(Amount::from_nanos(1));
}
