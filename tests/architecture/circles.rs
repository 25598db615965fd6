//! Neighbours lean on each other in one direction only: of the modules beside each other in a folder, each with all
//! that is below it, none is reached again from itself. What only tests name does not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{collect, is_word, paths, without_comments};

/// Where a module stands below the root of the crate.
type Place = Vec<String>;

/// For each of some neighbours, those that it names.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_two_neighbours_lean_on_each_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    let mut modules: BTreeMap<Place, String> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with("tests.rs")) {
        let place = file.strip_prefix(&source).unwrap().with_extension("");
        let place = place.iter().map(|name| name.to_string_lossy().into_owned());
        let text = fs::read_to_string(file).unwrap();
        let code = without_comments(text.split("#[cfg(test)]").next().unwrap());
        modules.insert(place.collect(), code);
    }
    let circles = circles(&modules);
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let module = |place: &str, code: &str| (place.split('/').map(str::to_owned).collect(), code.to_owned());
    let circles_of = |all: &[(&str, &str)]| circles(&all.iter().map(|&(place, code)| module(place, code)).collect());
    let first = ("room/a", "use super::{b::{self, Thing}, c};");
    let back = ("room/b/inner", "fn f() -> crate::room::a::Own { todo() }");
    let leaf = ("room/c", "");
    assert_eq!(
        circles_of(&[first, ("room/b", "mod inner;"), back, leaf]),
        ["room: a → b → a"]
    );
    assert_eq!(circles_of(&[first, ("room/b", "use super::c::Leaf;"), leaf]), [""; 0]);
    // A module and its own parts are one.
    assert_eq!(
        circles_of(&[("room", "use self::a::A;"), ("room/a", "use super::Room;")]),
        [""; 0]
    );
}

fn circles(modules: &BTreeMap<Place, String>) -> Vec<String> {
    let mut folders: BTreeMap<Place, Arrows> = BTreeMap::new();
    for (from, code) in modules {
        for to in named(from, code, modules) {
            let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if let (Some(own), Some(other)) = (from.get(shared), to.get(shared)) {
                let arrows = folders.entry(from[..shared].to_vec()).or_default();
                arrows.entry(own.clone()).or_default().insert(other.clone());
            }
        }
    }
    let circle = |(folder, arrows): (Place, Arrows)| {
        let way = arrows.keys().find_map(|start| way_back(start, &arrows))?;
        Some(format!("{}: {}", folder.join("/"), way.join(" → ")))
    };
    folders.into_iter().filter_map(circle).collect()
}

/// The shortest way from a module to itself.
fn way_back(start: &str, arrows: &Arrows) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in arrows.get(way.last()?).into_iter().flatten() {
                let mut way = way.clone();
                way.push(next.clone());
                if next == start {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The modules that the code of one at `from` names by paths from the root, from itself or from what is above it.
fn named(from: &Place, code: &str, modules: &BTreeMap<Place, String>) -> Vec<Place> {
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            // A `super` behind a `super` is read with the first.
            if before.ends_with("::") || before.ends_with(is_word) {
                continue;
            }
            let mut rest = &code[at..];
            let mut base = if start == "crate::" { Vec::new() } else { from.clone() };
            while let Some(above) = rest.strip_prefix("super::") {
                base.pop();
                rest = above;
            }
            let rest = rest.trim_start_matches("crate::").trim_start_matches("self::");
            for path in paths(rest) {
                let whole: Place = base.iter().cloned().chain(path).collect();
                let module = (1..=whole.len())
                    .rev()
                    .find(|&length| modules.contains_key(&whole[..length]));
                found.extend(module.map(|length| whole[..length].to_vec()));
            }
        }
    }
    found
}
