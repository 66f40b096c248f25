//! The movies of the seeded catalogue; all are invented.

use chrono::{Days, NaiveDate};
use contract::api::catalogue::MovieDetails;

struct Film {
    title: &'static str,
    description: &'static str,
    genres: &'static [&'static str],
    rating: &'static str,
    minutes: i32,
    language: &'static str,
}

/// The movie of the premiere.
pub(super) const PREMIERE: &str = "The Last Monsoon Express";

const FILMS: [Film; 12] = [
    Film {
        title: PREMIERE,
        description: "A signalman has one night to stop the train that nobody else believes is coming.",
        genres: &["Thriller", "Drama"],
        rating: "UA 13+",
        minutes: 148,
        language: "Hindi",
    },
    Film {
        title: "Paper Boats of Varanasi",
        description: "Two brothers part over a boat and meet again thirty years downstream.",
        genres: &["Drama"],
        rating: "U",
        minutes: 131,
        language: "Hindi",
    },
    Film {
        title: "Second Floor, Third Door",
        description: "A locksmith in Pune opens a flat that has been shut since 1984.",
        genres: &["Mystery", "Thriller"],
        rating: "UA 16+",
        minutes: 119,
        language: "Marathi",
    },
    Film {
        title: "Neelam and the Night Market",
        description: "A girl trades her shadow for a lantern and has until dawn to win it back.",
        genres: &["Animation", "Family"],
        rating: "U",
        minutes: 96,
        language: "English",
    },
    Film {
        title: "Half a Degree North",
        description: "A cartographer's error starts a quarrel between two villages and ends in a wedding.",
        genres: &["Comedy", "Romance"],
        rating: "U",
        minutes: 124,
        language: "Malayalam",
    },
    Film {
        title: "Iron Under Rain",
        description: "A kabaddi captain comes home to a team that has forgotten how to lose.",
        genres: &["Sport", "Drama"],
        rating: "UA 7+",
        minutes: 139,
        language: "Tamil",
    },
    Film {
        title: "Zero Gravity Biryani",
        description: "The cook of an orbital station feeds four crews that do not speak to each other.",
        genres: &["Comedy", "Science Fiction"],
        rating: "UA 7+",
        minutes: 108,
        language: "Telugu",
    },
    Film {
        title: "The Cartwright's Ledger",
        description: "An accountant finds a murder in the books of a family that pays for everything.",
        genres: &["Crime", "Thriller"],
        rating: "A",
        minutes: 142,
        language: "English",
    },
    Film {
        title: "Songs We Owe the Sea",
        description: "The last three singers of a fishing harbour record an album against the tide.",
        genres: &["Music", "Documentary"],
        rating: "U",
        minutes: 88,
        language: "Konkani",
    },
    Film {
        title: "Kohinoor Junction",
        description: "Five strangers, one waiting room, and a diamond that keeps changing pockets.",
        genres: &["Comedy", "Crime"],
        rating: "UA 13+",
        minutes: 127,
        language: "Hindi",
    },
    Film {
        title: "What the Banyan Heard",
        description: "A tree that remembers everything is to be felled in the morning.",
        genres: &["Fantasy", "Drama"],
        rating: "UA 7+",
        minutes: 134,
        language: "Kannada",
    },
    Film {
        title: "Midnight at Platform Nine",
        description: "The same minute, again and again, until somebody misses the train.",
        genres: &["Horror", "Mystery"],
        rating: "A",
        minutes: 112,
        language: "Bengali",
    },
];

/// The films, released around this day.
pub(super) fn films(today: NaiveDate) -> impl Iterator<Item = MovieDetails> {
    FILMS.iter().zip(0..).map(move |(film, weeks): (&Film, u64)| MovieDetails {
        title: film.title.into(),
        description: film.description.into(),
        genres: film.genres.iter().map(ToString::to_string).collect(),
        rating: film.rating.into(),
        duration_minutes: film.minutes,
        release_date: today.checked_sub_days(Days::new(7 * weeks)).unwrap_or(today),
        poster_url: None,
        language: film.language.into(),
    })
}
