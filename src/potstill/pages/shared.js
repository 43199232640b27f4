// What the pages of this folder share; each page's own script follows. Words from outside are set as text, never as HTML.
"use strict";
const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function call(path, body) {
  const options = body === undefined ? {} :
    { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path + location.search, options);
  const value = await answer.json().catch(() => ({ error: `the server answered with status ${answer.status}` }));
  if (!answer.ok) throw new Error(value.error || `the server answered with status ${answer.status}`);
  return value;
}

