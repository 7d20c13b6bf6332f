//! How many questions are under way: of one user, so that no other is kept out, and of all, so that threads and memory are
//! bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Of one user.
const MOST_OF_ONE: usize = 8;
/// Of all: a thread each, and at most [`sdg::broker::LONGEST_ASK`] bytes.
const MOST_OF_ALL: usize = 64;

/// Seats taken, by user. Who has none is not in it.
#[derive(Clone, Debug, Default)]
pub struct Seats(Arc<Mutex<HashMap<u32, usize>>>);

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    user: u32,
    seats: Seats,
}

impl Seats {
    /// A seat for a user, if one is left.
    pub fn take(&self, user: u32) -> Option<Seat> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&user).copied().unwrap_or(0);
        if own >= MOST_OF_ONE || taken.values().sum::<usize>() >= MOST_OF_ALL {
            return None;
        }
        taken.insert(user, own + 1);
        let seats = self.clone();
        Some(Seat { user, seats })
    }
}

impl Seat {
    /// Whose it is.
    pub fn user(&self) -> u32 {
        self.user
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
        }
        taken.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_keeps_no_other_out_and_all_have_an_end() {
        let seats = Seats::default();
        let own: Vec<Seat> = (0..MOST_OF_ONE).filter_map(|_| seats.take(1)).collect();
        assert_eq!(own.len(), MOST_OF_ONE);
        assert!(seats.take(1).is_none());
        let others: Vec<Seat> = (2..1000).filter_map(|user| seats.take(user)).collect();
        assert_eq!(others.len(), MOST_OF_ALL - MOST_OF_ONE);
        drop(own);
        assert!(seats.take(1).is_some());
        drop(others);
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
