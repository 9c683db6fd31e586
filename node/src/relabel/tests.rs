use narthex_model::{Labels, LabelsBuilder};
use proptest::prelude::*;

use super::*;

fn rule(action: RelabelAction) -> RelabelConfig {
    RelabelConfig { action, ..RelabelConfig::default() }
}

fn sources(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The labels afterwards, or `None` where they were dropped.
fn applied(configs: &[RelabelConfig], pairs: &[(&str, &str)]) -> Option<String> {
    let mut labels = Labels::from_pairs(pairs.iter().copied()).expect("labels").to_builder();
    let kept = Rules::compile(configs).expect("rules").apply(&mut labels);
    kept.then(|| labels.build().to_string())
}

const ABC: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace_fills_groups_and_deletes_on_an_empty_result() {
    let base = RelabelConfig {
        source_labels: sources(&["a", "b"]),
        regex: "f(.*);(.*)r".into(),
        target_label: "d".into(),
        replacement: "ch${1}-$2".into(),
        ..rule(RelabelAction::Replace)
    };
    let expect = |configs: &[RelabelConfig], labels: &str| {
        assert_eq!(applied(configs, ABC).as_deref(), Some(labels), "{configs:?}");
    };
    expect(std::slice::from_ref(&base), r#"{a="foo", b="bar", c="baz", d="choo-ba"}"#);
    // `$1a` names a group `1a`, which does not exist: the result is empty and deletes.
    let deleting =
        RelabelConfig { target_label: "c".into(), replacement: "$1a".into(), ..base.clone() };
    expect(&[deleting], r#"{a="foo", b="bar"}"#);
    let unmatched = RelabelConfig { regex: "x".into(), ..base.clone() };
    expect(&[unmatched], r#"{a="foo", b="bar", c="baz"}"#);
    let named = RelabelConfig { target_label: "${1}".into(), replacement: "$2".into(), ..base };
    expect(&[named], r#"{a="foo", b="bar", c="baz", oo="ba"}"#);
    let constant = RelabelConfig {
        target_label: "env".into(),
        replacement: "prod".into(),
        ..rule(RelabelAction::Replace)
    };
    expect(&[constant], r#"{a="foo", b="bar", c="baz", env="prod"}"#);
}

#[test]
fn keep_and_drop_decide_by_the_joined_text() {
    let with = |action, regex: &str| RelabelConfig {
        source_labels: sources(&["a", "b"]),
        regex: regex.into(),
        ..rule(action)
    };
    assert!(applied(&[with(RelabelAction::Keep, "foo;bar")], ABC).is_some());
    assert!(applied(&[with(RelabelAction::Keep, "foo;ba")], ABC).is_none());
    assert!(applied(&[with(RelabelAction::Drop, "foo.*")], ABC).is_none());
    let equal = |action, target: &str| RelabelConfig {
        source_labels: sources(&["a"]),
        target_label: target.into(),
        ..rule(action)
    };
    assert!(applied(&[equal(RelabelAction::KeepEqual, "b")], ABC).is_none());
    assert!(applied(&[equal(RelabelAction::KeepEqual, "a")], ABC).is_some());
    assert!(applied(&[equal(RelabelAction::DropEqual, "b")], ABC).is_some());
    assert!(applied(&[equal(RelabelAction::DropEqual, "a")], ABC).is_none());
}

#[test]
fn names_are_mapped_dropped_and_kept() {
    let map = RelabelConfig { regex: "__meta_(.+)".into(), ..rule(RelabelAction::LabelMap) };
    assert_eq!(
        applied(&[map], &[("__meta_zone", "eu"), ("a", "1")]).as_deref(),
        Some(r#"{__meta_zone="eu", a="1", zone="eu"}"#)
    );
    let drop = RelabelConfig { regex: "a|b".into(), ..rule(RelabelAction::LabelDrop) };
    assert_eq!(applied(&[drop], ABC).as_deref(), Some(r#"{c="baz"}"#));
    let keep = RelabelConfig { regex: "a|b".into(), ..rule(RelabelAction::LabelKeep) };
    assert_eq!(applied(&[keep], ABC).as_deref(), Some(r#"{a="foo", b="bar"}"#));
}

#[test]
fn case_is_changed_one_character_at_a_time() {
    let with = |action| RelabelConfig {
        source_labels: sources(&["a"]),
        target_label: "a".into(),
        ..rule(action)
    };
    let pairs = [("a", "Straße İ Σς ᾳ")];
    assert_eq!(
        applied(&[with(RelabelAction::Uppercase)], &pairs).as_deref(),
        Some("{a=\"STRAßE İ ΣΣ ᾼ\"}")
    );
    assert_eq!(
        applied(&[with(RelabelAction::Lowercase)], &pairs).as_deref(),
        Some("{a=\"straße i σς ᾳ\"}")
    );
}

#[test]
fn hashes_are_those_of_prometheus() {
    // md5("foo") = acbd18db4cc2f85c edef654fccc4a4d8; the last eight bytes count.
    assert_eq!(hash_modulo("foo", u64::MAX), 0xedef_654f_ccc4_a4d8);
    assert_eq!(hash_modulo("foo", 1000), 0xedef_654f_ccc4_a4d8 % 1000);
    let config = RelabelConfig {
        source_labels: sources(&["c"]),
        target_label: "d".into(),
        modulus: 1000,
        ..rule(RelabelAction::HashMod)
    };
    let expected = format!(r#"{{a="foo", b="bar", c="baz", d="{}"}}"#, hash_modulo("baz", 1000));
    assert_eq!(applied(&[config], ABC), Some(expected));
}

fn any_labels() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map("[a-d]{1,2}", "[x-z]{0,3}", 0..6)
        .prop_map(|map| map.into_iter().collect())
}

fn builder(pairs: &[(String, String)]) -> LabelsBuilder {
    Labels::from_pairs(pairs.iter().map(|(n, v)| (n, v))).expect("labels").to_builder()
}

proptest! {
    #[test]
    fn keep_and_drop_are_opposites(pairs in any_labels(), name in "[a-d]", regex in "[x-z]{0,2}[.]?[*]?") {
        let with = |action| RelabelConfig {
            source_labels: vec![name.clone()],
            regex: regex.clone(),
            ..rule(action)
        };
        prop_assume!(Regex::new(&regex).is_ok());
        let keep = Rules::compile(&[with(RelabelAction::Keep)]).expect("rules");
        let drop = Rules::compile(&[with(RelabelAction::Drop)]).expect("rules");
        let before = builder(&pairs);
        let (mut kept, mut dropped) = (before.clone(), before.clone());
        prop_assert_ne!(keep.apply(&mut kept), drop.apply(&mut dropped));
        prop_assert_eq!(kept.build(), before.build());
        prop_assert_eq!(dropped.build(), before.build());
    }

    #[test]
    fn label_drop_and_label_keep_split_a_set(pairs in any_labels(), regex in "[a-d]([.]|[|][a-d])?") {
        let with = |action| RelabelConfig { regex: regex.clone(), ..rule(action) };
        let keep = Rules::compile(&[with(RelabelAction::LabelKeep)]).expect("rules");
        let drop = Rules::compile(&[with(RelabelAction::LabelDrop)]).expect("rules");
        let before = builder(&pairs);
        let (mut kept, mut left) = (before.clone(), before.clone());
        prop_assert!(keep.apply(&mut kept) && drop.apply(&mut left));
        let mut together = kept.build().to_builder();
        for (name, value) in left.iter() {
            prop_assert_eq!(together.value(name), "");
            together.set(name, value);
        }
        prop_assert_eq!(together.build(), before.build());
    }

    #[test]
    fn a_hash_is_below_its_modulus_and_any_text_is_taken(text in any::<String>(), modulus in 1u64..) {
        prop_assert!(hash_modulo(&text, modulus) < modulus);
        let upper: String = text.chars().map(to_upper).collect();
        prop_assert_eq!(upper.chars().count(), text.chars().count());
    }

    #[test]
    fn the_default_rule_copies_the_source(pairs in any_labels(), from in "[a-d]", to in "[a-d]") {
        let config = RelabelConfig {
            source_labels: vec![from.clone()],
            target_label: to.clone(),
            ..rule(RelabelAction::Replace)
        };
        let mut labels = builder(&pairs);
        let value = labels.value(&from).to_owned();
        prop_assert!(Rules::compile(&[config]).expect("rules").apply(&mut labels));
        prop_assert_eq!(labels.value(&to), value);
    }
}
