//! A version of a detector that judges the images that another version judges, to be compared with it: nobody is
//! answered by it, nobody waits for it, and it is the first to go without when there is much to do.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{
    Call, Kind, Model, Refusal,
    detect::{JudgeAsk, Judges, Verdict},
};
use crate::domain::image::Image;

/// A model in the shadow of another version.
#[derive(Debug, Clone)]
pub struct Shadow {
    model: Arc<Model>,
    room: Arc<Semaphore>,
}

/// What a judge said of an image: whether it is rejected, and the p-value; nothing if it failed.
type Said = Option<(bool, f64)>;

impl Shadow {
    /// A model that judges where there is room.
    pub fn new(model: Arc<Model>, room: Arc<Semaphore>) -> Self {
        Self { model, room }
    }

    /// Judges, later, the images that version `main` has judged, and counts where the two differ. If anything waits for
    /// a worker, or there is no room, that is left out, and counted as `shed`.
    pub fn compare(
        self,
        main: u32,
        images: Vec<Image>,
        ask: JudgeAsk,
        judged: &[Result<Verdict, Refusal>],
        call: &Call,
    ) {
        let call = call.in_shadow();
        let place = Arc::clone(&self.room).try_acquire_owned();
        let (Ok(place), true) = (place, call.nothing_waits()) else {
            call.metrics().shadowed(&self.model.name, "shed", images.len());
            return;
        };
        let said = said(judged);
        tokio::spawn(async move {
            let _place = place;
            self.judge(main, said, images, ask, &call).await;
        });
    }

    async fn judge(&self, main: u32, said: Vec<Said>, images: Vec<Image>, ask: JudgeAsk, call: &Call) {
        let judged = match self.model.can::<dyn Judges>() {
            Ok(judge) => judge.judge(images, &ask, call).await,
            Err(reason) => Err(Refusal::unsupported(&self.model.name, "detect", &reason)),
        };
        let ours = match judged {
            Ok(judged) => {
                judged
                    .iter()
                    .filter_map(|own| own.as_ref().err())
                    .for_each(|refusal| self.tell_failed(main, refusal));
                self::said(&judged)
            }
            // Much came in the meantime.
            Err(refusal) if matches!(refusal.kind(), Kind::Overloaded | Kind::ShuttingDown) => {
                call.metrics().shadowed(&self.model.name, "shed", said.len());
                return;
            }
            Err(refusal) => {
                self.tell_failed(main, &refusal);
                vec![None; said.len()]
            }
        };
        for (theirs, ours) in said.into_iter().zip(ours) {
            let (Some((rejects, p_value)), Some((shadow_rejects, shadow_p_value))) = (theirs, ours) else {
                call.metrics().shadowed(&self.model.name, "failed", 1);
                continue;
            };
            let outcome = match (rejects, shadow_rejects) {
                (false, false) => "both_accept",
                (true, true) => "both_reject",
                (false, true) => "only_shadow_rejects",
                (true, false) => "only_main_rejects",
            };
            call.metrics().shadowed(&self.model.name, outcome, 1);
            if rejects != shadow_rejects {
                tracing::info!(
                    model = self.model.name,
                    version = main,
                    shadow = self.model.version,
                    p_value,
                    shadow_p_value,
                    outcome,
                    "the shadow decides otherwise"
                );
            }
        }
    }

    /// Says why the shadow could not judge what the main version did: the metric has no room for reasons.
    fn tell_failed(&self, main: u32, refusal: &Refusal) {
        let shadow = self.model.version;
        tracing::warn!(model = self.model.name, version = main, shadow, %refusal, "the shadow cannot judge");
    }
}

fn said(judged: &[Result<Verdict, Refusal>]) -> Vec<Said> {
    let items = judged.iter();
    items
        .map(|item| item.as_ref().ok().map(|verdict| (verdict.reject, verdict.p_value)))
        .collect()
}
