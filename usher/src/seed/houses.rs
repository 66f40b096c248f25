//! The theatres of the seeded catalogue, and the seats of their halls.

use contract::api::catalogue::TheatreDetails;

/// A theatre and its halls, by name and number of seats.
pub(super) struct House {
    name: &'static str,
    address: &'static str,
    city: &'static str,
    latitude: f64,
    longitude: f64,
    pub(super) halls: &'static [(&'static str, usize)],
}

/// The theatre that has the premieres and the open-air lawn.
pub(super) const FIRST_HOUSE: &str = "Marigold Picture Palace";

pub(super) const HOUSES: [House; 4] = [
    House {
        name: FIRST_HOUSE,
        address: "14 Hill Road, Bandra West",
        city: "Mumbai",
        latitude: 19.0544,
        longitude: 72.8295,
        halls: &[("Audi 1", 240), ("Audi 2", 120)],
    },
    House {
        name: "Lalbagh Talkies",
        address: "3 Krumbiegal Road, Mavalli",
        city: "Bengaluru",
        latitude: 12.9507,
        longitude: 77.5848,
        halls: &[("Screen A", 300), ("Screen B", 96)],
    },
    House {
        name: "Kashmere Gate Cinema",
        address: "27 Lothian Road, Kashmere Gate",
        city: "Delhi",
        latitude: 28.6667,
        longitude: 77.2290,
        halls: &[("Hall 1", 210), ("Hall 2", 150)],
    },
    House {
        name: "Musi Riverside Arts",
        address: "8 Salar Jung Marg, Darulshifa",
        city: "Hyderabad",
        latitude: 17.3713,
        longitude: 78.4804,
        halls: &[("The Big Room", 420), ("The Small Room", 60)],
    },
];

impl House {
    /// The theatre in the form of the API.
    pub(super) fn details(&self) -> TheatreDetails {
        TheatreDetails {
            name: self.name.into(),
            address: self.address.into(),
            city: self.city.into(),
            latitude: self.latitude,
            longitude: self.longitude,
            time_zone: Some("Asia/Kolkata".into()),
        }
    }
}
