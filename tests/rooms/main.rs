//! No circle in any crate: whatever a file needs can be read before it. Nor is there one between
//! the rooms of a crate, which are the modules of its root with all that is in them.
//!
//! A module is a file, with the inline modules in it. An arrow leads from the file that names
//! something by a path (`crate::`, `self::`, `super::`, or a child module's name; in a `use` or in
//! the code, macros included) to the file that defines it: a name that is re-exported on the way is
//! followed to its origin. Not counted: comments, code for tests alone, `mod` lines, and what is
//! used without being named (methods, fields). A circle is a set of files, or of rooms, each of
//! which leads to each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod imports;
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use imports::{Arrows, Crate, Module, shown};

#[test]
fn no_crate_has_a_circle_of_files_or_rooms() {
    let mut report = String::new();
    for (name, _) in rules::CRATES {
        for root in ["lib.rs", "main.rs"] {
            let file = workspace().join(name).join("src").join(root);
            if !file.exists() {
                continue;
            }
            let files = Crate::read(&file).arrows();
            let rooms = rooms(&files);
            println!("{name}/{root}: {}, {}", sizes(&files, "files"), sizes(&rooms, "rooms"));
            for (arrows, kind) in [(&files, "files"), (&rooms, "rooms")] {
                for circle in circles(arrows) {
                    writeln!(report, "{name}, {kind}: {}", circle.join(", ")).unwrap();
                    for from in &circle {
                        for to in arrows[from].iter().filter(|to| circle.contains(to)) {
                            writeln!(report, "    {from} → {to}").unwrap();
                        }
                    }
                }
            }
        }
    }
    assert!(report.is_empty(), "circles:\n{report}");
}

#[test]
fn the_line_in_memory_has_no_way_to_a_store() {
    let tree = Crate::read(&workspace().join("waiting-room/src/lib.rs"));
    let line = tree.modules.iter().filter(|(name, _)| name.first().is_some_and(|n| n == "line"));
    let mut files = 0;
    for (name, Module { paths, .. }) in line {
        files += 1;
        for path in paths {
            let is_way = ["redis", "sqlx"].contains(&path[0].as_str())
                || ["LineStore", "Pool", "Cache"].contains(&path[path.len() - 1].as_str());
            assert!(!is_way, "{}: {}", shown(name), path.join("::"));
        }
    }
    assert!(files > 10, "the line is in `line/`");
}

#[test]
fn a_circle_is_seen_through_a_re_export_a_macro_and_a_child() {
    let circles_of = |files: &[(&str, &str)]| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("circle");
        let _ = std::fs::remove_dir_all(&folder);
        for (name, text) in files {
            let file = folder.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        circles(&Crate::read(&folder.join("lib.rs")).arrows())
    };
    let lib = "mod a; mod b; pub use b::Word;";
    let b = "pub struct Word; fn f() { format!(\"{}\", crate::a::LENGTH); }";
    let a = "use crate::Word; const LENGTH: usize = 1;";
    assert_eq!(circles_of(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]), [["a", "b"]]);
    let a =
        "//! [`crate::b`] \n #[cfg(test)] mod tests { use crate::Word; } const LENGTH: usize = 1;";
    assert!(circles_of(&[("lib.rs", lib), ("a.rs", a), ("b.rs", b)]).is_empty());
    let a = "mod c; fn f() { c::g() } struct A;";
    let c = "use super::*; pub fn g() {}";
    let files = [("lib.rs", "mod a;"), ("a.rs", a), ("a/c.rs", c)];
    assert_eq!(circles_of(&files), [["a", "a::c"]]);
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The arrows between the rooms of a crate.
fn rooms(files: &Arrows) -> Arrows {
    let room_of = |file: &String| file.split("::").next().unwrap_or_default().to_owned();
    let mut rooms = Arrows::new();
    for (from, all) in files {
        let room = room_of(from);
        let others = all.iter().map(room_of).filter(|other| *other != room);
        rooms.entry(room.clone()).or_default().extend(others);
    }
    rooms
}

fn sizes(arrows: &Arrows, of: &str) -> String {
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    format!("{} {of} with {count} arrows", arrows.len())
}

/// The circles, each as the sorted names of its files.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|from| (from, reached_from(arrows, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, all) in &reached {
        let circle = all.iter().filter(|to| reached[**to].contains(from));
        let circle: Vec<String> = circle.map(|to| (*to).clone()).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(arrows: &'a Arrows, from: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = arrows[from].iter().collect();
    while let Some(to) = next.pop() {
        if reached.insert(to) {
            next.extend(&arrows[to]);
        }
    }
    reached
}
