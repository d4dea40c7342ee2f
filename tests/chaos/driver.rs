//! Draws the faults of a run. Two lanes at a time, each with a shuffled deck of its own; the seed decides the order, the
//! parameters and the pauses. A fault that no longer fits into the run is not started.

use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::faults::{DATABASE, Fault, MEMBERS};
use crate::fleet::Spools;
use crate::pass;
use crate::world::World;

/// So many cards in a row that no longer fit end the lane; else the quick faults would crowd its end.
const MISFITS: usize = 3;

/// Strikes until the time is over. Everything is as before when it returns.
pub async fn run(world: &World, span: Duration) {
    let end = Instant::now() + span;
    tokio::join!(lane(world, &MEMBERS, 1, end, None), lane(world, &DATABASE, 2, end, first(world)));
}

/// What happens to the database first: where the workers have spools, one of the faults that are about them, in turns.
pub fn first(world: &World) -> Option<Fault> {
    match world.spools? {
        Spools::Small => Some(Fault::SpoolFull),
        Spools::Large => {
            let all = [
                Fault::KillWhileSpooling,
                Fault::KillWhileDraining,
                Fault::AwayWhileDraining,
                Fault::RebalanceWhileSpooling,
            ];
            let turn = usize::try_from(world.seed / 4).ok()? % all.len();
            Some(all[turn])
        }
    }
}

async fn lane(
    world: &World,
    faults: &[(Fault, &'static str, usize, u64)],
    salt: u64,
    end: Instant,
    first: Option<Fault>,
) {
    let mut dice = Dice::new(world.seed, salt);
    let mut deck = shuffled(faults, &mut dice);
    if let Some(at) = deck.iter().position(|(fault, ..)| Some(*fault) == first) {
        let last = deck.len() - 1;
        deck.swap(at, last); // the next one is taken from there
    }
    let mut tries = 0;
    while tries < MISFITS {
        let Some((fault, name, about)) = deck.pop() else {
            deck = shuffled(faults, &mut dice);
            continue;
        };
        // Every card has its own luck: what one does never changes the next.
        let mut luck = Dice::new(dice.roll(), 0);
        let left = end.saturating_duration_since(Instant::now());
        if left < Duration::from_secs(about) {
            tries += 1;
            continue;
        }
        tries = 0;
        pass(luck.millis(100, 900)).await;
        world.tell(&format!("{name} ..."));
        let done = fault.strike(world, &mut luck).await;
        let details = done.as_ref().map_or("could not be done", |(_, details)| details);
        world.tell(&format!("... {name}: {details}"));
        if let Some((fault, _)) = done {
            *world.done.lock().expect("the tally").entry(fault).or_default() += 1;
        }
    }
}

fn shuffled(
    faults: &[(Fault, &'static str, usize, u64)],
    dice: &mut Dice,
) -> Vec<(Fault, &'static str, u64)> {
    let cards = faults.iter().flat_map(|(fault, name, count, about)| vec![(*fault, *name, *about); *count]);
    let mut deck: Vec<_> = cards.collect();
    dice.shuffle(&mut deck);
    deck
}
