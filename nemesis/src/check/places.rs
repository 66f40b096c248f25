//! Checking the places in place tickets: each number belongs to one visitor.

use std::collections::HashMap;

use super::scene::{Findings, Scene};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut owners = HashMap::new();
    // Places of shows without a line have no number.
    for place in scene.places.iter().filter(|place| place.number > 0) {
        let number = (place.show, place.lane, place.epoch, place.number);
        let owner = *owners.entry(number).or_insert(place.ticket);
        if owner != place.ticket {
            let text =
                format!("{} of epoch {}: {owner}, {}", place.number, place.epoch, place.ticket);
            findings.add("numbers given twice", text);
        }
    }
}
