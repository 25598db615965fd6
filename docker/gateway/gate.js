// Asks density-server about the body of a request, and passes it on or refuses it. See nginx.conf.

async function judge(r) {
    const answer = await r.subrequest('/_detect', { method: 'POST' });
    if (answer.status === 200) {
        // A batch is as good as its worst image; one that could not be read has an error and no decision.
        const results = JSON.parse(answer.responseText).results;
        if (results.length > 0 && results.every((result) => result.decision === 'accept')) {
            return pass(r, 'accept');
        }
        return refuse(r, 403, 'Forbidden', 'an image is not like those that this service was made for');
    }
    // What cannot be judged for reasons of its own must not go round the gate, however the gate fails.
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) {
        r.headersOut['Content-Type'] = 'application/problem+json';
        return r.return(answer.status, answer.responseText);
    }
    r.error(`the gate gave ${answer.status} and fails ${r.variables.gate_failure}`);
    if (r.variables.gate_failure === 'open') {
        return pass(r, 'unjudged');
    }
    refuse(r, 503, 'Service Unavailable', 'images cannot be judged at the moment');
}

function pass(r, verdict) {
    r.variables.gate_verdict = verdict;
    r.internalRedirect('@vision');
}

function refuse(r, status, title, detail) {
    r.headersOut['Content-Type'] = 'application/problem+json';
    r.return(status, JSON.stringify({ title, status, detail }));
}

export default { judge };
