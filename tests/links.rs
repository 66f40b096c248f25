//! Every link in the documents leads to an existing file and heading.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for page in ["", "docs", "docs/decisions", "findings"].iter().flat_map(|name| pages(name)) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = page.parent().unwrap().join(path);
            let target = if path.is_empty() { &page } else { &target };
            let leads = target.exists() && (heading.is_empty() || has(target, heading));
            if !leads && !link.starts_with("http") {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn pages(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect()
}

/// Whether a page has a heading with this anchor.
fn has(page: &Path, heading: &str) -> bool {
    let text = fs::read_to_string(page).unwrap();
    text.lines().filter(|line| line.starts_with('#')).any(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "") == heading
    })
}
