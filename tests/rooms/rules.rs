//! The written rules that the compiler does not check: dependencies between crates, the places of
//! SQL and Lua, the length of files, and the lints.

use std::path::{Path, PathBuf};

use super::{imports::Crate, workspace};

/// Every crate, in reading order, and how many crates from the top of the list its product code may
/// depend on.
pub(crate) const CRATES: [(&str, usize); 13] = [
    ("contract", 0),
    ("platform", 1),
    ("store", 2),
    ("ingress", 3),
    ("waiting-room", 3),
    ("allocator", 3),
    ("notifier", 3),
    // The load test can do only what a client can.
    ("loadtest", 1),
    ("usher", 8),
    ("testing", 3),
    ("nemesis", 10),
    ("bench", 11),
    ("tests", 11),
];
/// How many of these crates are the product; the others test or measure it.
const PRODUCT: usize = 9;

/// Crates with Lua scripts, each in a folder of its own.
const WITH_LUA: [&str; 2] = ["store", "waiting-room"];
const WITH_SQL: &str = "store";

const LINES_MAX: usize = 400;
/// Files that may be longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

#[test]
fn crates_depend_downwards_and_no_service_on_another() {
    let members: Vec<String> = quoted_between(&manifest(workspace()), "members = [", "]");
    let listed = CRATES.map(|(name, _)| name);
    assert_eq!(members, listed, "the members of the workspace, in reading order");
    for (name, n_below) in CRATES {
        for used in dependencies(&manifest(&workspace().join(name))) {
            let is_above = listed[n_below..].contains(&used.as_str());
            assert!(!is_above, "{name} depends on {used}");
        }
    }
}

#[test]
fn sql_and_lua_stand_where_they_are_looked_for() {
    for (name, _) in &CRATES[..PRODUCT] {
        let calls = |what: &str| {
            let of_root = |root: &str| {
                let root = workspace().join(name).join("src").join(root);
                root.exists().then(|| Crate::read(&root))
            };
            let trees = ["lib.rs", "main.rs"].into_iter().filter_map(of_root);
            let modules = trees.flat_map(|tree| tree.modules.into_values());
            modules.flat_map(|module| module.paths).find(|path| path.iter().any(|at| at == what))
        };
        let sql = calls("sqlx").map(|path| path.join("::"));
        assert_eq!(sql.is_some(), *name == WITH_SQL, "{name} {sql:?}: SQL stands in {WITH_SQL}/");
        let lua = calls("Script").map(|path| path.join("::"));
        let has_lua = WITH_LUA.contains(name);
        assert_eq!(lua.is_some(), has_lua, "{name} {lua:?}: Lua stands in {WITH_LUA:?}");
    }
    for script in files("lua") {
        let folder = script.parent().unwrap();
        let homes = WITH_LUA.map(|name| Path::new(name).join("src/scripts"));
        assert!(homes.iter().any(|home| home == folder), "{}", script.display());
    }
}

#[test]
fn no_file_is_longer_than_a_reader_keeps_in_mind() {
    let mut n_files = 0;
    for file in files("rs") {
        n_files += 1;
        let name = file.display().to_string();
        let n_lines = std::fs::read_to_string(workspace().join(&file)).unwrap().lines().count();
        let is_named = LONGER.iter().any(|(longer, _)| *longer == name);
        assert_eq!(n_lines > LINES_MAX, is_named, "{name}: {n_lines} lines, named: {is_named}");
        assert!(!name.ends_with("/mod.rs"), "{name}: a folder's module stands beside the folder");
    }
    assert!(n_files > 300, "{n_files} files");
}

#[test]
fn the_lints_are_on_in_every_crate() {
    for (name, _) in CRATES {
        let manifest = manifest(&workspace().join(name));
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{name}");
    }
}

fn manifest(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("Cargo.toml")).unwrap()
}

fn quoted_between(text: &str, begin: &str, end: &str) -> Vec<String> {
    let (_, rest) = text.split_once(begin).unwrap();
    let (inside, _) = rest.split_once(end).unwrap();
    inside.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The dependencies of a crate, without those of its tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let sections = manifest.split("\n[");
    let section = sections.filter_map(|section| section.strip_prefix("dependencies]\n"));
    let lines = section.flat_map(str::lines);
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// The files of all crates with this extension, by their paths from the workspace's root.
fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = CRATES.map(|(name, _)| PathBuf::from(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(workspace().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|one| one == extension) {
                found.push(path);
            }
        }
    }
    found
}
