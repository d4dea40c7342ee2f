// Keeps the open page moving. The page is complete without it: the server renders every section, and sends those that changed as
// the HTML that a reload would bring. Here they are only put in their places, node by node, so that focus, selection and the
// place of a scrolled table stay.
"use strict";

(() => {
    const LATE_MS = 5000; // events come every second
    const RETRY_MS = 10000; // a server that is full, or gone, is asked again
    const MOVEMENT_MS = 4000;

    const link = document.getElementById("link");
    const clock = document.getElementById("clock");
    let events = null;
    let retry = 0;
    let lastEvent = Date.now();

    // Announced to screen readers, so it is written only when it changes.
    function tell(state, words) {
        document.body.classList.toggle("live", state === "live");
        document.body.classList.toggle("stale", state === "stale");
        if (link.textContent !== words) link.textContent = words;
    }

    function parse(html) {
        const template = document.createElement("template");
        template.innerHTML = html; // rendered and escaped by our own server; scripts do not run in a template
        return template.content;
    }

    // Makes `old` like `fresh` with as few changes as possible.
    function morph(old, fresh) {
        const before = [...old.childNodes];
        const after = [...fresh.childNodes];
        after.forEach((node, index) => {
            const known = before[index];
            if (!known) {
                old.append(node);
            } else if (known.nodeName !== node.nodeName) {
                known.replaceWith(node);
            } else if (node.nodeType === Node.ELEMENT_NODE) {
                attributes(known, node);
                morph(known, node);
            } else if (known.data !== node.data) {
                known.data = node.data;
            }
        });
        before.slice(after.length).forEach((node) => node.remove());
    }

    function attributes(old, fresh) {
        for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
        for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }

    function take(message) {
        const { at, parts } = JSON.parse(message.data);
        lastEvent = Date.now();
        clock.textContent = `${at} UTC`;
        tell("live", "Live");
        for (const [id, html] of Object.entries(parts)) {
            const place = document.querySelector(`[data-live="${CSS.escape(id)}"]`);
            if (place) morph(place, parse(html));
        }
    }

    function connect() {
        clearTimeout(retry);
        events?.close();
        events = new EventSource("/events");
        events.onmessage = take;
        events.onerror = () => {
            tell("stale", "Not live: the connection is lost");
            // The browser connects again by itself, except where the server answered with a refusal.
            if (events.readyState === EventSource.CLOSED) retry = setTimeout(connect, RETRY_MS);
        };
    }

    function disconnect() {
        clearTimeout(retry);
        events?.close();
        events = null;
    }

    async function refreshMovement() {
        const place = document.querySelector("[data-movement]");
        if (!events || document.hidden || place.matches(":hover")) return; // a tooltip is not taken away
        try {
            const answer = await fetch(`/movement${location.search}`);
            if (answer.ok) morph(place, parse(await answer.text()));
        } catch {
            // The events say that the server is gone.
        }
    }

    setInterval(() => {
        if (events && Date.now() - lastEvent > LATE_MS) {
            tell("stale", "Not live: nothing new from the worker");
        }
    }, 1000);
    setInterval(refreshMovement, MOVEMENT_MS);

    // A page that nobody sees costs nothing.
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) {
            disconnect();
        } else if (!events) {
            lastEvent = Date.now();
            connect();
        }
    });
    addEventListener("pagehide", disconnect);
    addEventListener("pageshow", (shown) => { if (shown.persisted) connect(); });
    connect();
})();
