//! Places in a line, by the tickets that visitors were given: a number is one visitor's.

use std::collections::HashMap;

use super::{Findings, Scene};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut owners = HashMap::new();
    // Who is let in at once has no number.
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
