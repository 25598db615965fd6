//! Tests of keys and callers.

use super::*;

/// A file of keys, and the key that is good for these scopes.
fn with_key(scopes: &[Scope]) -> (Access, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let NewKey { key, entry } = NewKey::new("gate", scopes).unwrap();
    std::fs::write(&file, entry).unwrap();
    (Access::new(Some(file), Identity::None).unwrap(), key)
}

#[test]
fn a_key_is_good_for_its_scopes_alone() {
    let (access, key) = with_key(&[Scope::Read]);
    let caller = access.caller(Some(&key), None).unwrap();
    assert_eq!(caller.name(), Some("gate"));
    assert!(caller.may(Scope::Read).is_ok());
    let refusal = caller.may(Scope::Admin).unwrap_err();
    assert_eq!(refusal.kind(), Kind::Forbidden);
    assert_eq!(
        refusal.to_string(),
        "this needs a key with the scope \"admin\"; the key \"gate\" has read"
    );
}

#[test]
fn without_a_key_or_with_a_wrong_one_nobody_comes_in() {
    let (access, key) = with_key(&Scope::ALL);
    for wrong in [None, Some(""), Some("density_0"), Some(&key[1..])] {
        let refusal = access.caller(wrong, None).unwrap_err();
        assert_eq!(refusal.kind(), Kind::Unauthenticated);
        assert!(!refusal.to_string().contains("density_0"));
    }
}

#[test]
fn without_a_file_everybody_may_do_everything() {
    let caller = Access::open().caller(Some("whatever"), None).unwrap();
    assert!(Scope::ALL.into_iter().all(|scope| caller.may(scope).is_ok()));
    assert_eq!(caller.client(), None);
}

#[test]
fn clients_are_told_apart_by_key_else_by_address_if_asked() {
    let address = |text: &str| Some(text.parse().unwrap());
    let access = Access::new(None, Identity::Address).unwrap();
    let client = |text| access.caller(None, address(text)).unwrap().client().unwrap();
    assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
    assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    let (access, key) = with_key(&Scope::ALL);
    let client = |text| access.caller(Some(&key), address(text)).unwrap().client().unwrap();
    assert_eq!(client("192.0.2.1"), client("192.0.2.2"));
}

#[test]
fn a_changed_file_counts_at_once_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let key = |name| NewKey::new(name, &Scope::ALL).unwrap();
    let (old, new) = (key("old"), key("new"));
    std::fs::write(&file, &old.entry).unwrap();
    let access = Access::new(Some(file.clone()), Identity::None).unwrap();
    let before = access.caller(Some(&old.key), None).unwrap();
    assert_eq!(access.reload().unwrap(), None);
    std::fs::write(&file, &new.entry).unwrap();
    assert_eq!(access.reload().unwrap(), Some(1));
    assert!(access.caller(Some(&old.key), None).is_err());
    let refusal = access.again(&before).unwrap_err();
    assert_eq!(refusal.kind(), Kind::Unauthenticated);
    let caller = access.caller(Some(&new.key), None).unwrap();
    std::fs::write(&file, new.entry.replace("\"admin\"", "").replace(", ]", "]")).unwrap();
    assert_eq!(access.reload().unwrap(), Some(1));
    let again = access.again(&caller).unwrap();
    assert_eq!(again.client(), caller.client());
    assert!(again.may(Scope::Read).is_ok() && again.may(Scope::Admin).is_err());
    std::fs::write(&file, "[[key]]\nname = 'x'\nsha256 = 'abc'\nscopes = ['read']").unwrap();
    let error = access.reload().unwrap_err().to_string();
    assert!(
        error.ends_with("the sha256 of the key \"x\" is not 64 hex digits"),
        "{error}"
    );
    assert!(access.caller(Some(&new.key), None).is_ok());
}

#[test]
fn a_file_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let hash = "0".repeat(64);
    for (text, words) in [
        (
            format!("[[key]]\nname = 'x'\nsha256 = '{hash}'\nscopes = []"),
            "has no scopes",
        ),
        (
            format!("[[key]]\nname = 'x'\nsha256 = '{hash}'\nscopes = ['all']"),
            "unknown variant `all`",
        ),
        ("[[keys]]".to_owned(), "unknown field `keys`"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = Access::new(Some(file.clone()), Identity::None).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
