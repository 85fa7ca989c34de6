// The live view of a system: what happened, drawn as it happens, and again in slow motion.
//
// Facts come from the kernel (live_facts.py says what kinds there are). From them alone comes
// everything that is shown, as a function of a moment: stateAt(). The film says which moment is
// on the screen when. Times of facts are seconds since the experiment began; those of the film
// are seconds on the screen.

const TRAVEL = 0.45; // what is on its way can be seen for so long, if the film has the time
const QUICK = 0.25; // ... and if not; also live
const SHORTEST_FILM = 3; // an experiment that was shorter is stretched to it
const MOST_EXTRA = 6; // the film gets longer by so much at most, to show what is on its way
const WATCHED_LIVE = 4; // what lasted so long could be followed as it happened
const BEHIND = 0.3; // live shows what was so long ago, as facts come in batches
const TAG = 1.3; // how long the reason of a failure is shown, on the screen
const APART = { request: 14, reply: 12, message: 21, delivery: 21 }; // pixels between two in a row
const MOST_CELLS = 24;
const SPEEDS = { "half speed": 0.5, "slow motion": 1, "double speed": 2, "real time": null };

// --- facts ---------------------------------------------------------------------------

export class Facts {
  constructor() {
    this.byId = new Map();
    this.levels = [];
    this.now = 0; // what is known reaches so far
    this.closed = null; // when the experiment was over
    this.version = 0;
  }

  get empty() {
    return this.byId.size === 0;
  }

  take({ rows = [], levels, now, closed = null, all = false }) {
    if (all) this.byId.clear();
    for (const [id, kind, source, target, start, end, note, of] of rows) {
      if (start === null) this.byId.delete(id);
      else this.byId.set(id, { id, kind, source, target, start, end: end ?? Infinity, note, of });
    }
    if (levels) this.levels = levels;
    this.now = now;
    this.closed = closed;
    this.version += 1;
  }

  // What follows from the facts and holds for all moments; made anew when facts have come.
  get index() {
    if (this.indexed !== this.version) {
      this.indexed = this.version;
      this.made = makeIndex([...this.byId.values()].sort((a, b) => a.start - b.start));
    }
    return this.made;
  }
}

function makeIndex(facts) {
  const of = (...kinds) => facts.filter((fact) => kinds.includes(fact.kind));
  const index = {
    busy: of("busy").map((fact) => ({ ...fact, waits: [] })),
    travels: of("request", "reply", "message", "delivery"),
    blocked: of("blocked"),
    messages: of("message"),
    deliveries: of("delivery"),
    held: of("held"),
    down: of("down"),
    breakers: of("breaker"),
    lanes: new Map(), // node: how many at most at the same time
  };
  const byId = new Map(index.busy.map((fact) => [fact.id, fact]));
  for (const wait of index.blocked) byId.get(wait.of)?.waits.push(wait);
  const free = new Map();
  for (const fact of index.busy) {
    const lanes = free.get(fact.source) ?? free.set(fact.source, []).get(fact.source);
    let lane = lanes.findIndex((end) => end <= fact.start);
    if (lane < 0) lane = lanes.length;
    lanes[lane] = fact.end;
    fact.lane = lane;
    index.lanes.set(fact.source, lanes.length);
  }
  return index;
}

// --- the film ------------------------------------------------------------------------

// Which moment is shown when: straight lines between knots [moment, seconds of film].
export class Film {
  constructor(knots, travel, lingers) {
    this.knots = knots;
    this.travel = travel; // what is on its way can be seen for so long
    this.lingers = lingers; // until it arrives; else it may be seen for a little longer
  }

  static realTime(facts, end) {
    return new Film([[0, 0], [Math.max(end, 1e-3), Math.max(end, 1e-3)]], QUICK, false);
  }

  // Slow motion that lingers where something is on its way.
  static slow(facts, end) {
    end = Math.max(end, 1e-3);
    const stretch = Math.max(SHORTEST_FILM, end) / end;
    let wanted = TRAVEL;
    let extras = lingering(facts, end, stretch, wanted);
    const total = (list) => list.reduce((sum, { extra }) => sum + extra, 0);
    if (total(extras) > MOST_EXTRA) {
      wanted *= MOST_EXTRA / total(extras);
      extras = wanted < 0.1 ? [] : lingering(facts, end, stretch, wanted);
    }
    const knots = [[0, 0]];
    const add = (moment, extra) => {
      const [before, film] = knots.at(-1);
      if (moment > before) knots.push([moment, film + (moment - before) * stretch + extra]);
    };
    for (const { from, to, extra } of extras) {
      add(from, 0);
      add(to, extra);
    }
    add(end, 0);
    // What was on its way last is seen to arrive.
    if (!extras.length && facts.index.travels.length) knots.push([end + 1e-6, knots.at(-1)[1] + QUICK]);
    return new Film(knots, Math.max(wanted, QUICK), extras.length > 0);
  }

  get length() {
    return this.knots.at(-1)[1];
  }

  get end() {
    return this.knots.at(-1)[0];
  }

  // The moment that is shown after so many seconds of film.
  moment(film) {
    return interpolate(this.knots, film, 1, 0);
  }

  // When in the film a moment is shown.
  at(moment) {
    return interpolate(this.knots, moment, 0, 1);
  }
}

function interpolate(knots, x, from, to) {
  let low = 0;
  let high = knots.length - 1;
  if (x <= knots[0][from]) return knots[0][to];
  if (x >= knots[high][from]) return knots[high][to] + (x - knots[high][from]); // live goes on
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knots[middle][from] <= x) low = middle;
    else high = middle;
  }
  const [a, b] = [knots[low], knots[high]];
  return a[to] + ((x - a[from]) / (b[from] - a[from])) * (b[to] - a[to]);
}

// The stretches that the film shows for longer, so that each way can be seen for `wanted` seconds.
function lingering(facts, end, stretch, wanted) {
  const extras = [];
  const shown = (from, to) => {
    let seconds = (to - from) * stretch;
    for (let last = extras.length - 1; last >= 0 && extras[last].to > from; last -= 1) {
      const each = extras[last];
      const common = Math.min(to, each.to) - Math.max(from, each.from);
      if (common > 0) seconds += (each.extra * common) / (each.to - each.from);
    }
    return seconds;
  };
  const ways = facts.index.travels.filter((way) => way.end <= end);
  ways.sort((a, b) => a.end - b.end);
  for (const way of ways) {
    if ((way.end - way.start) * stretch >= wanted) continue;
    const recent = extras.at(-1)?.to ?? 0;
    const missing = wanted - shown(way.start, way.end);
    const from = Math.max(way.start, recent);
    if (missing > 0.01 && way.end > from) extras.push({ from, to: way.end, extra: missing });
  }
  return extras;
}

// Moments worth stopping at: between two changes, and in the middle of each way.
export function steps(facts, film) {
  const changes = new Set([0, film.length]);
  for (const fact of facts.byId.values())
    for (const moment of [fact.start, fact.end]) if (moment <= film.end) changes.add(film.at(moment));
  const sorted = [...changes].sort((a, b) => a - b);
  const least = Math.max(0.12, film.length / 150); // what is closer together is one step
  const places = [0];
  let before = 0;
  for (const change of sorted) {
    if (change - before < least) continue;
    places.push((before + change) / 2);
    before = change;
  }
  places.push(film.length);
  return places;
}

// --- what there is to see at a moment ------------------------------------------------------

export function stateAt(facts, film, seconds, plan) {
  const { index } = facts;
  const moment = film.moment(seconds);
  const now = ({ start, end }) => start <= moment && moment < end;
  const nodes = plan.nodes.map((_, node) => ({
    lanes: [],
    laneCount: index.lanes.get(node) ?? 0,
    working: 0,
    blocked: 0,
    parked: 0,
    down: false,
    chip: "",
  }));
  for (const busy of index.busy) {
    if (busy.start > moment) break;
    if (busy.source === null || !now(busy)) continue;
    const waits = busy.waits.some(now);
    const node = nodes[busy.source];
    node.lanes[busy.lane] = waits ? "blocked" : "working";
    node[waits ? "blocked" : "working"] += 1;
  }
  for (const { source } of index.down.filter(now)) nodes[source].down = true;
  const travellers = onTheirWay(index, film, seconds, moment, plan);
  for (const { parked, target } of travellers) if (parked) nodes[target].parked += 1;
  const queues = backlogs(facts, moment, plan);
  writeChips(nodes, queues, plan);
  return {
    moment,
    nodes,
    travellers,
    queues,
    waits: index.blocked.filter((wait) => wait.source !== null && now(wait)),
    breakers: index.breakers.filter(now),
    failures: index.blocked.filter(
      ({ end, note }) => note && end <= moment && seconds - film.at(end) < TAG,
    ),
  };
}

function onTheirWay(index, film, seconds, moment, plan) {
  const found = [];
  for (const way of index.travels) {
    if (way.start > moment) break;
    const over = way.end <= moment;
    if (over && film.lingers) continue;
    const left = film.at(way.start);
    if (over && seconds - left >= film.travel) continue;
    const back = way.kind === "reply";
    const arrow = plan.arrows.findIndex(
      ([source, target]) =>
        source === (back ? way.target : way.source) && target === (back ? way.source : way.target),
    );
    if (arrow < 0) continue;
    const whole = film.lingers ? Math.min(film.at(way.end) - left, film.travel) : film.travel;
    const progress = Math.min((seconds - left) / (whole || film.travel), 1);
    const parked = way.kind === "request" && progress >= 1;
    found.push({ ...way, arrow, back, progress, parked, over });
  }
  return found;
}

// For each queue: what each group of its readers has before it.
function backlogs(facts, moment, plan) {
  const { messages, deliveries, held } = facts.index;
  const queues = new Map();
  plan.nodes.forEach(({ kind }, queue) => {
    if (kind === "queue") queues.set(queue, { sent: 0, groups: new Map(), known: false });
  });
  const group = (queue, name) => {
    const { groups } = queues.get(queue);
    if (!groups.has(name)) groups.set(name, { before: 0, pending: 0, settled: 0, reader: null });
    return groups.get(name);
  };
  for (const [queue, name, backlog, pending] of facts.levels) {
    if (!queues.has(queue)) continue;
    Object.assign(group(queue, name), { before: backlog, pending });
    queues.get(queue).known = true;
  }
  for (const { target, end } of messages)
    if (queues.has(target)) {
      queues.get(target).known = true;
      if (end <= moment) queues.get(target).sent += 1;
    }
  for (const { source, target, start, note } of deliveries)
    if (queues.has(source)) {
      const taken = group(source, note);
      taken.reader ??= target;
      if (start <= moment) taken.pending += 1;
    }
  for (const { source, end, note, of } of held)
    if (queues.has(source) && end <= moment) {
      if (of === null) group(source, note).settled += 1; // else it was only delivered again
      group(source, note).pending -= 1;
    }
  for (const queue of queues.values()) {
    for (const each of queue.groups.values()) {
      each.backlog = Math.max(queue.sent + each.before - each.settled, 0);
      each.waiting = Math.max(each.backlog - each.pending, 0);
    }
    const groups = [...queue.groups.values()];
    queue.waiting = groups.length ? Math.max(...groups.map((each) => each.waiting)) : queue.sent;
    queue.backlog = groups.length ? Math.max(...groups.map((each) => each.backlog)) : queue.sent;
  }
  return queues;
}

// One group: its backlog stands at the queue. Several: each has its own, at who reads.
function writeChips(nodes, queues, plan) {
  for (const [number, queue] of queues) {
    const groups = [...queue.groups.entries()];
    if (groups.length <= 1) {
      nodes[number].chip = queue.known ? `backlog ${queue.backlog}` : "";
      continue;
    }
    for (const [name, each] of groups) {
      const named = plan.nodes.findIndex((node) => node.name === name);
      const reader = each.reader ?? (named < 0 ? null : named);
      if (reader !== null) nodes[reader].chip = `backlog ${each.backlog}`;
    }
  }
}

// --- the same in words --------------------------------------------------------------------

export function sentences(state, plan, withTimes = true) {
  const label = (node) => plan.nodes[node]?.label ?? "somebody";
  const lower = (node) => `the ${label(node)[0].toLowerCase()}${label(node).slice(1)}`;
  const place = (node) => (plan.nodes[node]?.kind === "queue" ? lower(node) : label(node));
  const said = [];
  state.nodes.forEach((node, number) => node.down && said.push(`${label(number)} is down.`));
  for (const { source, target, note } of state.breakers)
    if (note !== "closed") said.push(`The breaker in ${label(source)} for ${label(target)} is ${note}.`);
  for (const { source, note } of new Map(state.failures.map((each) => [each.source, each])).values())
    said.push(`A call of ${label(source)} failed: ${note}.`);

  const moving = new Map();
  for (const each of state.travellers)
    if (!each.parked && !each.over) {
      const key = `${each.kind} ${each.source} ${each.target}`;
      moving.set(key, { ...each, number: (moving.get(key)?.number ?? 0) + 1 });
    }
  const names = { request: "request", reply: "answer", message: "message", delivery: "message" };
  for (const { kind, source, target, number } of moving.values()) {
    const what = names[kind];
    const how = number === 1 ? `${what[0] === "a" ? "An" : "A"} ${what} goes` : `${number} ${what}s go`;
    said.push(`${how} from ${place(source)} to ${place(target)}.`);
  }

  const waiting = new Map();
  for (const { source, target, start } of state.waits) {
    if (target === null) continue;
    const key = `${source} ${target}`;
    const known = waiting.get(key) ?? { source, target, start, number: 0 };
    waiting.set(key, { ...known, start: Math.min(start, known.start), number: known.number + 1 });
  }
  for (const { source, target, start, number } of waiting.values()) {
    const several = plan.nodes[source].kind === "customer" ? "customers" : `threads of ${label(source)}`;
    const who = number === 1 ? label(source) : `${number} ${several}`;
    const time = withTimes ? `, ${duration(state.moment - start)}` : "";
    said.push(`${who} ${number === 1 ? "waits" : "wait"} for ${label(target)}${time}.`);
  }
  state.nodes.forEach(({ parked }, number) => {
    if (parked) said.push(`${parked === 1 ? "1 request stands" : `${parked} requests stand`} in line at ${label(number)}.`);
  });
  const working = state.nodes.flatMap(({ working, down }, number) => (working && !down ? [label(number)] : []));
  if (working.length) said.push(`${listed(working)} ${working.length === 1 ? "works" : "work"}.`);
  for (const [number, { backlog }] of state.queues)
    if (backlog) said.push(`${backlog === 1 ? "1 message is" : `${backlog} messages are`} in the backlog of ${lower(number)}.`);
  return said;
}

function listed(names) {
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

export function duration(seconds) {
  return seconds >= 0.1 ? `${seconds.toFixed(2)} s` : `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

// --- the picture --------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

function svgElement(parent, tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return parent.appendChild(element);
}

function show(element, shown) {
  const wanted = shown ? "visible" : "hidden";
  if (element && element.getAttribute("visibility") !== wanted) element.setAttribute("visibility", wanted);
}

class Picture {
  constructor(parent, plan) {
    // Several views may be on a page, and each loads this module anew, so they cannot be
    // counted here: each gets names of its own for its hatches.
    const name = `live-${Math.random().toString(36).slice(2)}`;
    parent.innerHTML = plan.picture.replaceAll("hatch-", `${name}-hatch-`);
    this.svg = parent.querySelector("svg");
    this.svg.removeAttribute("aria-labelledby");
    this.svg.setAttribute("aria-label", plan.description);
    const part = (root, name) => root.querySelector(`[data-part=${name}]`);
    this.nodes = plan.nodes.map(({ kind }, number) => {
      const group = this.svg.querySelector(`[data-node="${number}"]`);
      return {
        kind,
        states: Object.fromEntries(["idle", "busy", "blocked", "down"].map((name) => [name, part(group, name)])),
        letters: [...group.querySelectorAll("[data-part=letter]")],
        cells: part(group, "cells"),
        chip: new Chip(part(group, "chip")),
      };
    });
    this.ways = plan.arrows.map((_, number) => {
      const [there, back] = this.svg.querySelectorAll(`[data-arrow="${number}"] > path`);
      return [there, back].map((path) => path && { path, length: path.getTotalLength() });
    });
    this.templates = Object.fromEntries(
      [...this.svg.querySelectorAll("[data-part=template]")].map((group) => [group.dataset.kind, group]),
    );
    this.layer = part(this.svg, "travellers");
    this.spare = { request: [], reply: [], message: [] };
    this.shown = new Map(); // id of a way: its element
    this.tags = [];
  }

  // stride: the share of a way that can be gone since the last frame; 0 for any.
  draw(state, stride) {
    state.nodes.forEach((node, number) => this.drawNode(this.nodes[number], node, state.queues.get(number)));
    this.drawTravellers(state.travellers, stride);
    this.drawTags(state);
  }

  drawNode(view, { working, blocked, down, lanes, laneCount, chip }, queue) {
    const looks = down ? "down" : working ? "busy" : blocked ? "blocked" : "idle";
    for (const [name, element] of Object.entries(view.states)) show(element, name === looks);
    view.letters.forEach((letter, number) => show(letter, view.letters.length - number <= (queue?.waiting ?? 0)));
    if (view.cells) this.drawCells(view, down ? [] : lanes, laneCount, looks);
    view.chip.write(chip);
  }

  // A cell for each thread that was ever at work, once there were two at the same time.
  drawCells(view, lanes, count, looks) {
    const { x, y, width, height } = view.cells.dataset;
    const number = count > 1 ? Math.min(count, MOST_CELLS) : 0;
    if (view.cells.childElementCount !== number) {
      view.cells.replaceChildren();
      const pitch = Math.min(14, width / number);
      const left = Number(x) + (width - pitch * number) / 2;
      for (let cell = 0; cell < number; cell += 1)
        svgElement(view.cells, "rect", {
          x: left + cell * pitch + 1, y, width: Math.max(pitch - 2, 1), height, rx: 1.5,
          stroke: "#0D1117", "stroke-width": 1,
        });
    }
    [...view.cells.children].forEach((cell, lane) => {
      const hatch = view.states.blocked.querySelector("[fill^=url]").getAttribute("fill");
      const fill = { working: "inherit", blocked: hatch }[lanes[lane]] ?? "#FFFFFF";
      const paint = fill === "inherit" ? view.cells.getAttribute("fill") : fill;
      if (cell.getAttribute("fill") !== paint) cell.setAttribute("fill", paint);
    });
    show(view.cells, number > 0 && looks !== "down");
  }

  drawTravellers(travellers, stride) {
    const last = new Map(); // road: the place of the last one there
    const seen = new Set();
    travellers.sort((a, b) => b.progress - a.progress || a.start - b.start);
    for (const way of travellers) {
      const road = this.ways[way.arrow][way.back ? 1 : 0];
      if (!road) continue;
      const before = last.get(road.path) ?? Infinity; // nobody overtakes, so all can be counted
      const place = Math.max(Math.min(way.progress * road.length, before - APART[way.kind]), 0);
      last.set(road.path, place);
      const traveller = this.traveller(way, place);
      // When the one in front is gone, the others move up; they do not jump.
      const far = place - traveller.place;
      const most = stride * road.length;
      traveller.place = most ? traveller.place + Math.sign(far) * Math.min(Math.abs(far), most) : place;
      const { x, y } = road.path.getPointAtLength(traveller.place);
      traveller.element.setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
      seen.add(way.id);
    }
    for (const [id, { element, kind }] of this.shown)
      if (!seen.has(id)) {
        show(element, false);
        this.spare[kind].push(element);
        this.shown.delete(id);
      }
  }

  traveller(way, place) {
    let traveller = this.shown.get(way.id);
    if (!traveller) {
      const kind = way.kind === "delivery" ? "message" : way.kind;
      let element = this.spare[kind].pop();
      if (!element) {
        element = this.templates[kind].cloneNode(true);
        element.dataset.part = "traveller";
        this.layer.append(element);
      }
      show(element, true);
      traveller = { element, kind, place };
      this.shown.set(way.id, traveller);
    }
    return traveller;
  }

  // Why a call failed, and the states of breakers, below the arrow they are about.
  drawTags({ failures, breakers }) {
    const wanted = new Map();
    for (const { source, target, note } of breakers) wanted.set(`${source} ${target}`, `breaker: ${note}`);
    for (const { source, target, note } of failures) wanted.set(`${source} ${target}`, `✕ ${note}`);
    const texts = this.ways.map((_, arrow) => wanted.get(this.ends?.[arrow]) ?? "");
    texts.forEach((text, arrow) => {
      if (!text && !this.tags[arrow]) return;
      this.tags[arrow] ??= new Chip(this.tagBelow(arrow), "tag");
      this.tags[arrow].write(text);
    });
  }

  tagBelow(arrow) {
    const { path, length } = this.ways[arrow][1] ?? this.ways[arrow][0];
    const { x, y } = path.getPointAtLength(length / 2);
    return svgElement(this.layer.parentNode, "text", {
      x, y: y + 22, "text-anchor": "middle", "font-size": 12.5, fill: "#0D1117", "font-weight": "bold",
    });
  }
}

// A short text on a plate.
class Chip {
  constructor(text, look = "plate") {
    this.text = text;
    this.written = "";
    if (!text) return;
    this.plate = svgElement(text.parentNode, "rect", { class: look, rx: 4, visibility: "hidden" });
    text.before(this.plate);
  }

  write(words) {
    if (words === this.written || !this.text) return;
    this.written = this.text.textContent = words;
    show(this.plate, words);
    if (!words) return;
    const { x, y, width, height } = this.text.getBBox();
    for (const [name, value] of Object.entries({ x: x - 4, y: y - 1, width: width + 8, height: height + 2 }))
      this.plate.setAttribute(name, value);
  }
}

// --- playing ------------------------------------------------------------------------------

class Player {
  constructor(root, model, facts) {
    this.facts = facts;
    this.plan = model.get("plan");
    this.motion = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.mode = facts.closed === null ? "live" : "paused";
    this.seconds = 0; // of film
    this.frames = 0; // drawn so far, for whoever measures
    this.build(root);
    this.cut();
    if (this.mode === "paused") this.seconds = this.film.length;
    this.frame = this.frame.bind(this);
    this.arrived();
  }

  build(root) {
    root.classList.add("live-view");
    const add = (parent, tag, properties = {}) => parent.appendChild(Object.assign(document.createElement(tag), properties));
    const stage = add(root, "div");
    this.picture = new Picture(stage, this.plan);
    this.picture.ends = this.plan.arrows.map(([source, target]) => `${source} ${target}`);
    const bar = add(root, "div", { className: "bar" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Replay");
    this.play = add(bar, "button", { className: "play", type: "button", onclick: () => this.toggle() });
    this.back = add(bar, "button", { type: "button", textContent: "◀ Step back", onclick: () => this.step(-1) });
    this.next = add(bar, "button", { type: "button", textContent: "Step ▶", onclick: () => this.step(1) });
    this.slider = add(bar, "input", { type: "range", min: 0, max: 1000, value: 0, oninput: () => this.seek() });
    this.slider.setAttribute("aria-label", "Moment of the experiment");
    this.slider.onkeydown = (event) => this.keyOnSlider(event);
    this.clock = add(bar, "span", { className: "clock" });
    const label = add(bar, "label", { textContent: "Speed" });
    this.speed = add(label, "select", { onchange: () => this.changeSpeed() });
    for (const name of Object.keys(SPEEDS)) add(this.speed, "option", { textContent: name, value: name });
    this.speed.value = "slow motion";
    this.close = keepKeys(() => root);
    this.status = add(root, "p", { className: "status" });
    this.status.setAttribute("aria-hidden", "true"); // it changes too often to be read out
    this.spoken = add(root, "div", { className: "spoken" });
    this.spoken.setAttribute("role", "status");
    this.spoken.setAttribute("aria-live", "polite");
    this.motion.addEventListener("change", () => this.arrived());
    this.visible = true; // a film waits until it can be seen
    new IntersectionObserver((changes) => {
      this.visible = changes.at(-1).isIntersecting; // on a busy machine several come at once
      this.wake();
    }).observe(root);
    root.style.maxWidth = `${Math.max(this.picture.svg.width.baseVal.value, 780)}px`;
    root.player = this;
    this.root = root;
  }

  // Facts have come.
  arrived() {
    if (this.mode === "live") {
      const { now } = this.facts;
      const expected = this.liveMoment();
      // The kernel's clock, as the messages tell it; corrected when it has drifted off.
      if (this.origin === undefined || Math.abs(now - BEHIND - expected) > 0.2)
        this.origin = performance.now() / 1000 - (now - BEHIND);
    }
    if (this.facts.closed !== null && this.madeFor !== this.facts.version) this.cut();
    this.wake();
  }

  liveMoment() {
    return this.origin === undefined ? -Infinity : Math.max(performance.now() / 1000 - this.origin, 0);
  }

  // Make the film anew; what is shown stays.
  cut() {
    const moment = this.film ? this.film.moment(this.seconds) : 0;
    const end = this.facts.closed ?? this.facts.now;
    const real = this.mode === "live" || SPEEDS[this.speed.value] === null;
    this.film = real ? Film.realTime(this.facts, end) : Film.slow(this.facts, end);
    this.seconds = Math.min(this.film.at(moment), this.film.length);
    this.stops = this.mode === "live" ? [] : steps(this.facts, this.film);
    this.madeFor = this.facts.version;
  }

  wake() {
    if (!this.running) {
      this.running = true;
      this.last = performance.now();
      requestAnimationFrame(this.frame);
    }
  }

  frame(time) {
    this.running = false;
    const passed = Math.min(Math.max(time - this.last, 0) / 1000, 0.1);
    this.last = time;
    if (this.mode === "live") this.followLive();
    else if (this.mode === "playing") this.advance(passed);
    this.draw(passed);
    const waiting = this.mode === "live" && this.origin === undefined;
    if (this.mode !== "paused" && !waiting && this.visible) {
      this.running = true;
      requestAnimationFrame(this.frame);
    }
  }

  followLive() {
    const { closed, now } = this.facts;
    const moment = this.liveMoment();
    this.seconds = Math.max(Math.min(moment, closed ?? now + 0.3), 0);
    if (closed !== null && moment >= closed) this.liveIsOver(moment);
  }

  liveIsOver(moment) {
    // A moment to see how it ended; then once more, so slowly that it can be followed.
    if (moment < this.facts.closed + 0.7) return;
    const again = this.facts.closed < WATCHED_LIVE && !this.facts.empty && !this.motion.matches;
    this.mode = again ? "playing" : "paused";
    this.cut();
    this.seconds = again || this.motion.matches ? 0 : this.film.length;
  }

  advance(passed) {
    this.seconds += passed * (SPEEDS[this.speed.value] ?? 1);
    if (this.seconds >= this.film.length) {
      this.seconds = this.film.length;
      this.mode = "paused";
    }
  }

  // --- what a learner does

  toggle() {
    if (this.mode === "paused") {
      if (this.seconds >= this.film.length - 1e-6) this.seconds = 0;
      this.mode = "playing";
    } else this.pause();
    this.wake();
  }

  pause() {
    const live = this.mode === "live";
    this.mode = "paused";
    if (live) this.cut();
  }

  step(direction) {
    this.pause();
    const near = 1e-3;
    this.seconds =
      direction > 0
        ? (this.stops.find((place) => place > this.seconds + near) ?? this.film.length)
        : (this.stops.findLast((place) => place < this.seconds - near) ?? 0);
    this.wake();
  }

  seek() {
    this.pause();
    this.seconds = (this.slider.value / this.slider.max) * this.film.length;
    this.wake();
  }

  keyOnSlider(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
    if (event.key in steps) this.step(steps[event.key]);
    else if (event.key === " ") this.toggle();
    else return;
    event.preventDefault();
  }

  changeSpeed() {
    if (this.mode !== "live") this.cut();
    this.wake();
  }

  // --- what is on the screen

  draw(passed) {
    this.frames += 1;
    const state = stateAt(this.facts, this.film, this.seconds, this.plan);
    const still = this.motion.matches;
    this.picture.draw(state, this.mode === "paused" || still ? 0 : (3 * passed) / this.film.travel);
    this.write(state);
  }

  write(state) {
    const { mode, film, facts } = this;
    const live = mode === "live";
    const atEnd = mode === "paused" && this.seconds >= film.length - 1e-6;
    set(this.play, "textContent", mode !== "paused" ? "❚❚ Pause" : atEnd ? "↻ Replay" : "▶ Play");
    set(this.play, "hidden", this.motion.matches);
    const nothing = facts.empty;
    set(this.play, "disabled", nothing);
    for (const each of [this.back, this.next, this.slider, this.speed]) set(each, "disabled", nothing || live);
    const unit = film.end < 0.2 ? 1000 : 1;
    const digits = film.end < 0.2 ? 1 : film.end < 1 ? 3 : film.end < 10 ? 2 : 1;
    const count = (seconds) => (unit * seconds).toFixed(digits);
    const name = unit === 1 ? "s" : "ms";
    set(this.clock, "textContent", live ? `${state.moment.toFixed(2)} s` : `${count(state.moment)} of ${count(film.end)} ${name}`);
    const place = String(Math.round((1000 * this.seconds) / film.length));
    if (document.activeElement !== this.slider || this.slider.value !== place) set(this.slider, "value", place);

    const said = sentences(state, this.plan);
    const head = nothing ? "" : live ? "Live" : mode === "playing" ? this.pace() : atEnd ? "The end" : "Paused";
    const words = said.slice(0, 4).join(" ") || this.idle(state, atEnd);
    const text = `${head}|${words}`;
    if (this.written !== text) {
      this.written = text;
      this.status.replaceChildren();
      if (head) this.status.appendChild(document.createElement("b")).textContent = `${head}.`;
      this.status.append(words);
    }
    this.speak(state, said, words);
  }

  pace() {
    const shown = this.film.length / (SPEEDS[this.speed.value] ?? 1);
    if (Math.abs(shown - this.film.end) < 0.1) return "Real time";
    const real = this.film.end < 0.2 ? `${(1000 * this.film.end).toFixed(0)} ms` : `${this.film.end.toFixed(2)} s`;
    return `${real} shown in ${shown.toFixed(0)} s`;
  }

  idle(state, atEnd) {
    if (this.facts.empty && this.facts.closed !== null) return "Nothing was recorded: no call to a service or a stream ran inside the block.";
    if (this.facts.empty) return this.origin === undefined ? "" : "Nothing has happened yet.";
    if (atEnd && this.motion.matches) return "Everything is done. Step back to look again.";
    return atEnd ? "Everything is done." : "Nobody works, nobody waits.";
  }

  // For who listens: the gist, not more often than it can be said, and at once when paused.
  speak(state, said, words) {
    const gist = sentences(state, this.plan, this.mode === "paused").slice(0, 4).join(" ") || words;
    if (this.mode === "paused") this.slider.setAttribute("aria-valuetext", `${this.clock.textContent}: ${words}`);
    const now = performance.now();
    if (gist === this.told || (this.mode !== "paused" && now - (this.toldAt ?? 0) < 2000)) return;
    this.told = gist;
    this.toldAt = now;
    this.spoken.textContent = this.mode === "paused" ? `${this.clock.textContent}. ${gist}` : gist;
  }
}

function set(element, name, value) {
  if (element[name] !== value) element[name] = value;
}

// --- the widget: one store of facts, any number of views on it ----------------------------------

export default () => {
  const facts = new Facts();
  const players = new Set();
  let asked = false;
  return {
    initialize({ model }) {
      model.on("msg:custom", (message) => {
        if (!message.rows) return;
        facts.take(message);
        for (const player of players) player.arrived();
      });
    },
    render({ model, el }) {
      const player = new Player(el.appendChild(document.createElement("div")), model, facts);
      players.add(player);
      if (!asked) {
        asked = true;
        model.send({ want: "facts" }); // what came before this view was there to take it
      }
      return () => {
        players.delete(player);
        player.close();
      };
    },
  };
};
