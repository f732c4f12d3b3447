"""The part of the JavaScript sandbox that is written in JavaScript.

It makes the script's world out of two functions of ours, `ask` and `note`, which take and give texts only, and hides
them. Its value is a function that takes `{source, entry, context, effects, short, files}` as JSON, runs the script and
gives its outcome as JSON, or an empty text while a promise is pending; called with null it gives the outcome of that.
An outcome is `{kind: "done", text}` with the result's JSON, or `{kind: "fail", message, line}`.

The text is loaded behind `LINES` empty lines, so that a line's number tells whose it is: QuickJS names all sources
alike.
"""

from typing import Final

LINES: Final = 100_000

PRELUDE: Final = (
    "\n" * LINES
    + rf"const LINES = {LINES};"
    + r"""
(function () {
"use strict";
const {ask, note} = globalThis;
delete globalThis.ask;
delete globalThis.note;
const {parse, stringify} = JSON, {isArray} = Array, evaluate = eval, PLACE = /<input>:(\d+)/g,
      NAME = /^[A-Za-z_$][\w$]*$/;
const ENTRY = "\0entry";
let loading = false, declared, settled = "";

function lineOf(stack) {
  for (const [, digits] of String(stack).matchAll(PLACE)) if (+digits <= LINES) return +digits;
  return null;
}

const failed = (message, line = null) => ({kind: "fail", message, line});

function failure(error) {
  let name = "", message, line = null;
  if (error !== null && typeof error === "object") {
    ({name, message} = error);
    line = lineOf(error.stack);
  } else message = error;
  if (name === "InternalError" && message === "out of memory") return failed("the script ran out of memory", line);
  if (message === null) message = "the script threw null: by itself, or because no memory was left";
  if (message === undefined || typeof message === "symbol") message = "the script threw something without a message";
  const plain = name === "Error" || typeof name !== "string" || !(error instanceof Error);
  return failed(plain ? String(message) : `${name}: ${message}`, line);
}

// Functions of a declared workflow become the way that leads to them.
function described(value, where) {
  if (typeof value === "function") return {[ENTRY]: where};
  if (isArray(value)) return value.map((item, i) => described(item, `${where}.${i}`));
  if (value === null || typeof value !== "object") return value;
  const out = {};
  for (const key of Object.keys(value)) out[key] = described(value[key], where ? `${where}.${key}` : key);
  return out;
}

function done(value) {
  if (value === undefined) value = null;
  const text = stringify(value);
  return text === undefined ? failed(`the result cannot be handed over: a ${typeof value}`) : {kind: "done", text};
}

function perform(action) {
  if (loading) throw new Error("nothing can be done while the file is read; do it within a step's function");
  let answer;
  try { answer = ask(stringify(action)); } catch (error) {
    throw new Error(`${action.type} cannot be asked for: ${error.message}`);
  }
  const {ok, value} = parse(answer);
  if (!ok) throw new Error(value);
  return value;
}

function effect(name, positional) {
  return {[name]: (...given) => {
    let [first] = given, fields = {};
    if (name === "command" && isArray(first)) fields = {argv: first, ...given[1]};
    else if (first !== null && typeof first === "object" && !isArray(first)) fields = {...first};
    else if (given.length > positional.length) throw new Error(`${name} takes an object with named fields`);
    else given.forEach((value, i) => { fields[positional[i]] = value; });
    if (name === "emit_event" && fields.type !== undefined) fields.event = fields.type;
    return perform({...fields, type: name});
  }}[name];
}

function shown(value) {
  if (typeof value === "string") return value;
  try { return stringify(value) ?? String(value); } catch { return String(value); }
}
const print = (level) => (...values) => { note(level, values.map(shown).join(" ").toWellFormed()); };

function world(effects, short, files) {
  const names = Object.create(null);
  for (const [name, positional] of Object.entries(effects)) names[name] = effect(name, positional);
  for (const [other, name] of Object.entries(short)) if (names[name]) names[other] = names[name];
  names.file = Object.fromEntries(files.filter((name) => names[name]).map((name) => [name, names[name]]));
  names.print = print("info");
  names.log = (first, ...rest) => {
    if (first === null || typeof first !== "object" || !("message" in first)) return names.print(first, ...rest);
    return print(String(first.level ?? "info"))(first.message);
  };
  const [debug, warn, error] = ["debug", "warning", "error"].map(print);
  names.console = {log: names.print, info: names.print, debug, warn, error};
  names.wait = (seconds) => { perform({type: "wait", seconds}); };
  names.fail = (message) => { throw new Error(String(message)); };
  names.workflow = (definition) => {
    if (definition === null || typeof definition !== "object") throw new Error("workflow takes an object");
    if (declared) throw new Error("a file declares one workflow");
    declared = definition;
  };
  for (const name of Object.keys(names)) {
    Object.defineProperty(globalThis, name, {value: names[name], writable: true, configurable: true});
  }
}

// What the parts of a path lead to, and what it is a method of.
function follow(at, parts, path) {
  let owner;
  for (const part of parts) { owner = at; at = at?.[part]; }
  if (typeof at !== "function") throw new Error(`there is no function '${path}' in the script`);
  return at.bind(owner);
}

function run(source, entry, context) {
  if (entry === null) return doneOrLater(evaluate(source));
  const [first, ...rest] = entry.split(".");
  const lookup = NAME.test(first) ? `\n;typeof ${first} === "undefined" ? undefined : ${first}` : "";
  loading = true;
  const found = evaluate(source + lookup);  // in one piece: const and let do not outlive an eval
  if (entry === "@declare") {
    if (!declared) throw new Error("the file does not call workflow({…})");
    return done(described(declared, ""));
  }
  loading = false;
  const body = declared ? follow(declared, [first, ...rest], entry) : follow(found, rest, entry);
  return doneOrLater(body(context));
}

function doneOrLater(value) {
  if (!(value instanceof Promise)) return done(value);
  value.then((result) => { settle(() => done(result)); }, (error) => { settle(() => failure(error)); });
  return null;
}

function settle(how) {
  try { settled = stringify(how()); } catch (error) { settled = stringify(failure(error)); }
}

function start(given) {
  try {
    const {source, entry, context, effects, short, files} = parse(given);
    world(effects, short, files);
    for (const name of Object.keys(context)) globalThis[name] = context[name];
    const result = run(source, entry, context);
    return result === null ? "" : stringify(result);
  } catch (error) { return stringify(failure(error)); }
}

return (given) => given === null ? settled : start(given);
})()
"""
)
