//! The description of the API: committed, complete, and no promise of the released version broken.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Map, Value};

use crate::harness::System;

/// `docs/openapi.json`, which `./dev openapi` writes.
const COMMITTED: &str = "../docs/openapi.json";
/// The document that version 3f88f6e served.
const RELEASED: &str = "before/openapi-3f88f6e.json";
/// Where a promise of the released version was broken, knowingly, with the reason.
const ACCEPTED: &[(&str, &str)] = &[];

fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(file(path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}; run ./dev openapi"));
    serde_json::from_str(&text).expect("it is JSON")
}

/// Every operation by its method and path.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let mut all = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("there are paths") {
        for (method, operation) in item.as_object().expect("an item") {
            all.insert(format!("{method} {path}"), operation);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_document_is_the_one_that_is_served() {
    let system = System::start().await;
    let served = system.get("/openapi.json", None).await.body;
    let text = serde_json::to_string_pretty(&served).unwrap() + "\n";
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(file(COMMITTED), &text).unwrap();
    }
    let committed = std::fs::read_to_string(file(COMMITTED)).unwrap_or_default();
    assert!(
        committed == text,
        "docs/openapi.json is another one: run ./dev openapi, and look at it"
    );
    system.stop().await;
}

#[test]
fn every_operation_says_what_it_does_takes_and_answers() {
    let document = read(COMMITTED);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    let of_api = |(name, _): &(String, &Value)| name.contains(contract::api::BASE);
    for (name, operation) in operations(&document).into_iter().filter(of_api) {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        assert!(operation["tags"].as_array().is_some_and(|tags| tags.len() == 1), "{name}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        let answers = responses.iter().filter(|(status, _)| status.starts_with(['1', '2']));
        assert!(answers.clone().count() > 0, "{name}");
        for (status, response) in
            answers.filter(|(status, _)| ["200", "201"].contains(&status.as_str()))
        {
            assert!(response["content"].is_object(), "{name} {status} has no body");
        }
        for (status, response) in
            responses.iter().filter(|(status, _)| status.starts_with(['4', '5']))
        {
            assert!(response["content"]["application/problem+json"].is_object(), "{name} {status}");
        }
        for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
            let is_id = parameter["in"] == "path";
            let is_told = parameter["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(is_id || is_told, "{name}: {}", parameter["name"]);
        }
    }
}

#[test]
fn what_the_released_version_promises_is_kept() {
    let (released, present) = (read(RELEASED), read(COMMITTED));
    let mut broken = Vec::new();
    let now = operations(&present);
    for (name, before) in operations(&released) {
        let Some(after) = now.get(&name) else {
            broken.push(format!("{name} is gone"));
            continue;
        };
        let comparison = Comparison { released: &released, present: &present };
        comparison.operation(&name, before, after, &mut broken);
    }
    let accepted: BTreeSet<&str> = ACCEPTED.iter().map(|(what, _)| *what).collect();
    let found: BTreeSet<&str> = broken.iter().map(String::as_str).collect();
    assert_eq!(found, accepted, "clients of the released version would notice");
}

/// Who writes what is compared: a request may get more freedom, an answer must keep what it has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

struct Comparison<'a> {
    released: &'a Value,
    present: &'a Value,
}

impl Comparison<'_> {
    fn operation(&self, name: &str, before: &Value, after: &Value, broken: &mut Vec<String>) {
        let parameters = |operation: &Value| -> BTreeMap<String, Value> {
            let all = operation["parameters"].as_array().cloned().unwrap_or_default();
            all.into_iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one)).collect()
        };
        let (old, new) = (parameters(before), parameters(after));
        for (parameter, _) in old.iter().filter(|(parameter, _)| !new.contains_key(*parameter)) {
            broken.push(format!("{name}: the parameter {parameter} is gone"));
        }
        for (parameter, _) in new.iter().filter(|(_, one)| one["required"] == true) {
            if old.get(parameter).is_none_or(|one| one["required"] != true) {
                broken.push(format!("{name}: the parameter {parameter} is needed now"));
            }
        }
        let body = |operation: &Value| {
            operation["requestBody"]["content"]["application/json"]["schema"].clone()
        };
        self.schema(&format!("{name} body"), &body(before), &body(after), Side::Request, 0, broken);
        for (status, response) in before["responses"].as_object().unwrap() {
            if !status.starts_with('2') {
                continue;
            }
            let now = &after["responses"][status];
            if now.is_null() {
                broken.push(format!("{name}: {status} is answered no more"));
            }
            for (kind, content) in response["content"].as_object().unwrap_or(&Map::new()) {
                let place = format!("{name} {status}");
                let now = &now["content"][kind]["schema"];
                self.schema(&place, &content["schema"], now, Side::Answer, 0, broken);
            }
        }
    }

    fn schema(
        &self,
        place: &str,
        before: &Value,
        after: &Value,
        side: Side,
        depth: usize,
        broken: &mut Vec<String>,
    ) {
        // Deeper, things repeat.
        if depth > 8 || before.is_null() {
            return;
        }
        let (before, after) = (flat(self.released, before), flat(self.present, after));
        let types = |schema: &Value| match &schema["type"] {
            Value::String(one) => BTreeSet::from([one.clone()]),
            Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            _ => BTreeSet::new(),
        };
        let (old, new) = (types(&before), types(&after));
        let fits = if side == Side::Request { old.is_subset(&new) } else { new.is_subset(&old) };
        if !fits && !old.is_empty() && !new.is_empty() {
            broken.push(format!("{place}: {old:?} became {new:?}"));
        }
        let needed = |schema: &Value| -> BTreeSet<String> {
            let all = schema["required"].as_array().cloned().unwrap_or_default();
            all.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        let (old, new) = (needed(&before), needed(&after));
        match side {
            Side::Request => broken
                .extend(new.difference(&old).map(|field| format!("{place}/{field} is needed now"))),
            Side::Answer => broken.extend(
                old.difference(&new).map(|field| format!("{place}/{field} may be missing now")),
            ),
        }
        if side == Side::Request
            && let (Some(old), Some(new)) = (before["enum"].as_array(), after["enum"].as_array())
        {
            let gone = old.iter().filter(|word| !new.contains(word));
            broken.extend(gone.map(|word| format!("{place}: {word} is taken no more")));
        }
        for (field, old) in before["properties"].as_object().unwrap_or(&Map::new()) {
            let place = format!("{place}/{field}");
            match &after["properties"][field] {
                Value::Null => broken.push(format!("{place} is gone")),
                new => self.schema(&place, old, new, side, depth + 1, broken),
            }
        }
        let (old, new) = (&before["items"], &after["items"]);
        self.schema(&format!("{place}/*"), old, new, side, depth + 1, broken);
    }
}

/// A schema with its reference followed, and the parts of `allOf` put together.
fn flat(document: &Value, schema: &Value) -> Value {
    let mut whole = match schema["$ref"].as_str() {
        Some(name) => flat(document, document.pointer(&name[1..]).expect("it is described")),
        None => schema.clone(),
    };
    let Some(parts) = whole["allOf"].as_array().cloned() else { return whole };
    let mut fields = Map::new();
    let mut needed = Vec::new();
    for part in parts.iter().map(|part| flat(document, part)) {
        fields.extend(part["properties"].as_object().cloned().unwrap_or_default());
        needed.extend(part["required"].as_array().cloned().unwrap_or_default());
    }
    whole["properties"] = fields.into();
    whole["required"] = needed.into();
    whole
}
