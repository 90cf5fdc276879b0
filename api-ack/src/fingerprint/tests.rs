#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

#[test]
fn what_varies_goes_and_the_rest_stays() {
    let pairs = [
        ("timeout: no answer after 1234 ms", "timeout: no answer after <n> ms"),
        ("no answer from 10.0.0.17:5672 in 3.5s", "no answer from <n> in <n>"),
        ("connect [fe80::1]:80: refused", "connect [<n>]:<n>: refused"),
        ("order 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 is gone", "order <n> is gone"),
        ("at 2026-01-02T03:04:05.678+01:00 it broke", "at <n> it broke"),
        ("commit deadbeefcafe and facade", "commit <n> and facade"),
        ("unknown sku 'tea' of \"north\" and `x`", "unknown sku <q> of <q> and <q>"),
        ("can't open /var/spool/a17/in/99.tmp", "can't open /var/spool/<n>/in/<n>.tmp"),
        ("  a\n\t b\u{0}c  ", "a b c"),
        ("key 01HXYZ3ABCD is taken", "key <n> is taken"),
        ("a lone \" quote", "a lone \" quote"),
        ("", ""),
    ];
    for (text, normal) in pairs {
        assert_eq!(normalised(text), normal, "{text}");
    }
}

#[test]
fn a_group_is_kind_reason_code_and_text() {
    let of = |kind, reason, error| Fingerprint::of(kind, reason, error);
    let one = of("mail", "exhausted", "smtp: 451 from 10.0.0.1");
    assert_eq!(one, of("mail", "exhausted", "smtp: 450 from 10.0.0.255:25"));
    assert_eq!((one.code.as_str(), one.title.as_str()), ("smtp", "smtp: <n> from <n>"));
    for other in [
        of("sms", "exhausted", "smtp: 451 from 10.0.0.1"),
        of("mail", "rejected", "smtp: 451 from 10.0.0.1"),
        of("mail", "exhausted", "imap: 451 from 10.0.0.1"),
        of("mail", "exhausted", "smtp: 451 by 10.0.0.1"),
        // What moves from one part to the next is something else.
        of("mailexhausted", "", "smtp: 451 from 10.0.0.1"),
    ] {
        assert_ne!(one.hash, other.hash);
    }
    for error in ["Not Kebab: x", ": x", "9x: y", "no code", "with blank: x"] {
        assert_eq!(of("mail", "exhausted", error).code, "", "{error}");
    }
}

/// They are in every database: another value here would tear every group in two.
#[test]
fn a_fingerprint_is_for_ever() {
    assert_eq!(Fingerprint::of("mail", "exhausted", "smtp: 451 from 10.0.0.1").hash, "49956dcea5537768");
    assert_eq!(Fingerprint::of("", "", "").hash, "5007649e1e61993a");
}

#[test]
fn a_text_made_to_be_dear_is_not() {
    /// The best of three: what else the machine does only adds.
    fn cost(text: &str) -> Duration {
        let once = || {
            let begun = Instant::now();
            Fingerprint::of("mail", "exhausted", text);
            begun.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap()
    }
    let hard = ["'\"`".repeat(400), "a::".repeat(400), "\"".repeat(1024), "1:".repeat(512), "ä1".repeat(500)];
    for text in hard.into_iter().flat_map(|text| [text.repeat(1000), text]) {
        let plain = "order 17 was late ".repeat(text.len() / 18);
        // A rule that looks at the rest of the text from each place costs as many times as much as there are places.
        let (dear, usual) = (cost(&text), cost(&plain) + Duration::from_millis(1));
        assert!(dear < 1000 * usual, "{dear:?} beside {usual:?} for {} bytes of {:?}", text.len(), &text[..12]);
    }
}

/// Text with what the rules look for.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "order",
        "17",
        "0",
        ":",
        "::",
        ".",
        "/",
        "-",
        "'",
        "\"",
        "`",
        " ",
        "\n",
        "<n>",
        "<q>",
        "fe80::1",
        "deadbeef",
        "x9",
        "ä",
        "９",
        "01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77",
        "2026-01-02T03:04:05Z",
        ",",
        "_",
        "+",
    ]);
    prop_oneof![prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat()), any::<String>()]
}

proptest! {
    #[test]
    fn done_twice_is_done_once(text in texts()) {
        let normal = normalised(&text);
        prop_assert_eq!(normalised(&normal), normal);
    }

    #[test]
    fn any_text_has_one(kind in any::<String>(), reason in any::<String>(), error in texts()) {
        let print = Fingerprint::of(&kind, &reason, &error);
        prop_assert_eq!(&print, &Fingerprint::of(&kind, &reason, &error));
        prop_assert!(print.hash.len() == 16 && print.title.len() <= TITLE_MAX && print.code.len() <= 64);
        prop_assert!(!print.title.contains(char::is_control));
    }

    #[test]
    fn numbers_do_not_tell_apart(a in any::<u64>(), b in any::<u64>(), id in any::<u128>()) {
        let of = |n: u64, id: u128| {
            let error = format!("bank: order {n} of {} failed after {n}.{n} s at 10.0.{}.1:{}", uuid::Uuid::from_u128(id), n % 256, n % 65536);
            Fingerprint::of("pay", "exhausted", &error).hash
        };
        prop_assert_eq!(of(a, id), of(b, !id));
    }

    #[test]
    fn what_is_beyond_the_limit_does_not_count(tail in any::<String>()) {
        let long = "word ".repeat(LOOKED_AT / 5 + 1);
        prop_assert_eq!(Fingerprint::of("k", "r", &long).hash, Fingerprint::of("k", "r", &(long + &tail)).hash);
    }
}
