//! The words of bookings: what tables and statements say is what `contract` says. A state that is
//! added is missed here wherever a list of states is written in SQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use contract::booking::{Kind, OrderStatus, Reason, State, Status};

use crate::stage::Stage;

type Words = BTreeSet<String>;

/// What a booking has of a seat: its live claims first.
const CLAIMS: [&str; 3] = ["HELD", "SOLD", "RELEASED"];
/// Between a column and the words it is compared with, but for brackets, casts and spaces.
const OPERATORS: [&str; 7] = ["=", "<>", "in", "notin", "when", "=anyarray", "<>allarray"];

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Words {
    words.into_iter().map(ToOwned::to_owned).collect()
}

fn states(states: impl IntoIterator<Item = State>) -> Words {
    states.into_iter().map(|state| state.as_str().to_owned()).collect()
}

fn orders_of(booked: &Words) -> Words {
    let of = |state: &&State| booked.contains(state.as_str());
    let booked = State::ALL.iter().filter(of).filter_map(|state| state.order_status());
    booked.map(|status| status.as_str().to_owned()).collect()
}

/// Every list of words that a column `state` or `status` is compared with.
fn lists(text: &str) -> Vec<Words> {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (column, at) in ["state", "status"]
        .into_iter()
        .flat_map(|column| text.match_indices(column).map(move |(at, _)| (column, at)))
    {
        let rest = &text[at + column.len()..];
        let Some((between, mut rest)) = rest.split_once('\'') else { continue };
        let between: String =
            between.replace("::text", "").split(|c: char| "()[ \n".contains(c)).collect();
        let is_column = !text[..at].ends_with(in_name);
        if !is_column || !OPERATORS.contains(&between.to_lowercase().as_str()) {
            continue;
        }
        let mut list = Words::new();
        while let Some((word, after)) = rest.split_once('\'') {
            list.insert(word.to_owned());
            let next = after.trim_start_matches(|c: char| in_name(c) || ":, \n".contains(c));
            let is_listed = after[..after.len() - next.len()].contains(',');
            let Some(next) = next.strip_prefix('\'').filter(|_| is_listed) else { break };
            rest = next;
        }
        found.push(list);
    }
    found
}

fn texts_below(folder: &Path) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(texts_below(&path));
        } else {
            texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_bookings_are_the_same_in_tables_statements_and_code() {
    let stage = Stage::build().await;
    let enums: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select typname::text, array_agg(enumlabel::text)
         from pg_type t join pg_enum e on e.enumtypid = t.oid group by typname",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    let enums: BTreeMap<String, Words> =
        enums.into_iter().map(|(name, words)| (name, words.into_iter().collect())).collect();
    let decided = Status::ALL.iter().filter(|status| **status != Status::Queued);
    for (name, known) in [
        ("booking_kind", words(Kind::ALL.iter().map(|kind| kind.as_str()))),
        ("booking_state", states(State::ALL.iter().copied())),
        ("booking_status", words(decided.map(|status| status.as_str()))),
        ("claim_state", words(CLAIMS)),
        ("order_status", words(OrderStatus::ALL.iter().map(|status| status.as_str()))),
        ("rejection", words(Reason::ALL.iter().map(|reason| reason.as_str()))),
    ] {
        assert_eq!(enums[name], known, "{name}");
    }

    let live = states(State::LIVE.iter().copied());
    let lapsing = states(State::LAPSING.iter().copied());
    let mut bought = vec![State::Confirmed];
    for at in 0.. {
        let Some(reached) = bought.get(at) else { break };
        bought.extend(reached.next().iter().map(|transition| transition.to()));
    }
    let bought = states(bought);
    let bought_and_over: Words = bought.difference(&live).cloned().collect();
    let live_for_good: Words = live.difference(&lapsing).cloned().collect();
    let live_claims = words(CLAIMS[..2].iter().copied());
    let mut known = vec![orders_of(&live), orders_of(&lapsing), orders_of(&live_for_good)];
    known.extend(
        [&live, &lapsing, &bought, &bought_and_over, &live_for_good, &live_claims]
            .map(Clone::clone),
    );
    known.extend(CLAIMS.map(|claim| words([claim])));
    known.extend([Status::Allocated, Status::Rejected].map(|status| words([status.as_str()])));

    let catalogue: Vec<(String, String)> = sqlx::query_as(
        "select indexname::text, indexdef from pg_indexes where schemaname = 'public'
         union all
         select conname::text, pg_get_constraintdef(oid) from pg_constraint
         where connamespace = 'public'::regnamespace
         union all
         select proname::text, prosrc from pg_proc
         where pronamespace = 'public'::regnamespace",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    for (name, list) in [
        ("bookings_pass_used_once", &live),
        ("bookings_live_ones_lapse", &lapsing),
        ("bookings_due", &lapsing),
        ("bookings_due_anywhere", &lapsing),
        ("bookings_cancelled_by_pass", &bought_and_over),
        ("seat_claims_one_live", &live_claims),
    ] {
        let (_, definition) = catalogue.iter().find(|(known, _)| known == name).expect(name);
        assert_eq!(lists(definition), std::slice::from_ref(list), "{name}: {definition}");
    }

    let statements = texts_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut compared = 0;
    for (place, text) in catalogue.iter().chain(&statements) {
        for list in lists(text) {
            compared += 1;
            assert!(known.contains(&list), "{place} compares with {list:?}, one of no list");
        }
    }
    assert!(compared > 30, "only {compared} comparisons were found");
}
