//! What the scheduler promises under load.

use super::*;

/// Two workers that take 10 ms a row.
fn machine() -> Machine {
    Machine {
        class: Class::Interactive,
        workers: 2,
        row: 0.010,
        guess: 0.010,
        noise: 0.3,
        time: 20.0,
    }
}

fn single(arrivals: Arrivals, deadline: f64) -> Kind {
    Kind {
        arrivals,
        items: 1,
        turns: 1,
        deadline: Some(deadline),
        client: None,
    }
}

/// So many times what the workers can do.
fn times(machine: &Machine, load: f64) -> Arrivals {
    Arrivals::Open(load * machine.workers as f64 / machine.row)
}

#[test]
fn goodput_stays_high_at_any_load() {
    for noise in [0.0, 0.3, 0.6] {
        for load in [1.0, 1.15, 1.5, 10.0] {
            for services in [20.0, 100.0] {
                let machine = Machine { noise, ..machine() };
                let kind = single(times(&machine, load), services * machine.row);
                let outcomes = simulate(&machine, &[kind]);
                let goodput = goodput(&machine, &outcomes);
                let case = format!("noise {noise}, load {load}, deadline {services}");
                eprintln!("{case}: goodput {goodput:.3}, {}", outcomes[0]);
                assert!(goodput >= 0.9, "{case}: {goodput}");
            }
        }
    }
}

#[test]
fn goodput_stays_high_among_impatient_retriers() {
    for (services, retry) in [
        (20.0, Retry::After(0.001)),
        (100.0, Retry::After(0.001)),
        (100.0, Retry::AsTold),
    ] {
        let machine = Machine { time: 2.0, ..machine() };
        let kind = single(Arrivals::Closed(1_000, retry), services * machine.row);
        let outcomes = simulate(&machine, &[kind]);
        let goodput = goodput(&machine, &outcomes);
        eprintln!("deadline {services}: goodput {goodput:.3}, {}", outcomes[0]);
        assert!(goodput >= 0.9, "{services}: {goodput}");
    }
}

#[test]
fn an_estimate_that_is_wrong_at_first_does_not_matter() {
    for guess in [0.000_1, 1.0] {
        let machine = Machine { guess, ..machine() };
        let kind = single(times(&machine, 1.5), 1.0);
        let outcomes = simulate(&machine, &[kind]);
        let goodput = goodput(&machine, &outcomes);
        eprintln!("guess {guess}: goodput {goodput:.3}, {}", outcomes[0]);
        assert!(goodput >= 0.9, "{guess}: {goodput}");
    }
}

/// A client that sends batches of 64 and comes back when it is told to, beside so many single requests that they alone
/// are too many.
fn batches_beside_singles(load: f64, deadline: Option<f64>) -> (f64, Vec<Outcome>) {
    let machine = Machine {
        time: 60.0,
        ..machine()
    };
    let small = Kind {
        deadline,
        ..single(times(&machine, load), 1.0)
    };
    let large = Kind {
        arrivals: Arrivals::Closed(1, Retry::AsTold),
        items: 64,
        ..small
    };
    let outcomes = simulate(&machine, &[small, large]);
    let goodput = goodput(&machine, &outcomes);
    eprintln!("load {load}, deadline {deadline:?}: goodput {goodput:.3}");
    eprintln!("  small: {}\n  large: {}", outcomes[0], outcomes[1]);
    (goodput, outcomes)
}

#[test]
fn a_large_request_gets_in_when_it_was_told_and_is_answered_in_time() {
    for load in [1.5, 10.0] {
        let (goodput, outcomes) = batches_beside_singles(load, Some(2.0));
        let large = &outcomes[1];
        assert!(large.answered >= 15, "{large}");
        assert!(large.late == 0 && large.most_attempts <= 2, "{large}");
        assert!(goodput >= 0.9, "{goodput}");
    }
}

#[test]
fn a_large_request_without_a_deadline_is_not_passed_for_ever() {
    for load in [1.5, 10.0] {
        let (goodput, outcomes) = batches_beside_singles(load, None);
        let large = &outcomes[1];
        // Ten seconds of work wait for two workers; three times that is the most.
        let longest = large.waits.iter().copied().fold(0.0, f64::max);
        assert!(large.answered >= 4 && longest < 17.0, "{large}");
        assert!(goodput >= 0.9, "{goodput}");
    }
}

#[test]
fn a_single_sample_need_not_wait_for_a_hundred_jobs() {
    let machine = Machine {
        class: Class::Bulk,
        row: 0.000_1,
        guess: 0.000_1,
        noise: 0.0,
        time: 0.05,
        ..machine()
    };
    let jobs = Kind {
        arrivals: Arrivals::Closed(100, Retry::AsTold),
        items: 64,
        turns: 72,
        deadline: None,
        client: None,
    };
    let sample = Kind {
        arrivals: Arrivals::Open(100.0),
        items: 1,
        ..jobs
    };
    let outcomes = simulate(&machine, &[jobs, sample]);
    eprintln!("jobs: {}\nsamples: {}", outcomes[0], outcomes[1]);
    // All jobs take 23 s; 72 turns of 16 rows take 0.12 s.
    let longest = outcomes[1].waits.iter().copied().fold(0.0, f64::max);
    assert_eq!(outcomes[1].answered, outcomes[1].asked);
    assert!(longest < 0.25, "{longest}");
}

#[test]
fn a_client_with_many_requests_does_not_delay_another() {
    let machine = Machine {
        noise: 0.0,
        time: 0.3,
        ..machine()
    };
    let greedy = Kind {
        arrivals: Arrivals::Closed(500, Retry::AsTold),
        items: 1,
        turns: 1,
        deadline: None,
        client: Some(1),
    };
    let modest = Kind {
        arrivals: Arrivals::Open(30.0),
        client: Some(2),
        ..greedy
    };
    let outcomes = simulate(&machine, &[greedy, modest]);
    eprintln!("greedy: {}\nmodest: {}", outcomes[0], outcomes[1]);
    let longest = outcomes[1].waits.iter().copied().fold(0.0, f64::max);
    assert!(outcomes[1].answered > 3 && longest < 0.1, "{longest}");
}
