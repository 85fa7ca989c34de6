// The parts of a form that ipywidgets does not have, one function each.

// An invisible part of every form: it keeps JupyterLab's keys away from the controls.
function keys({ el }) {
  return keepKeys(() => el.closest(".course-form"));
}

// A question with radio buttons or, if there can be several, boxes to tick; with or without a
// button to check them.
function choices({ model, el }) {
  const group = el.appendChild(document.createElement("fieldset"));
  if (model.get("question"))
    group.appendChild(document.createElement("legend")).innerHTML = model.get("question");
  const name = crypto.randomUUID?.() ?? String(Math.random());
  const boxes = model.get("options").map((option) => {
    const label = group.appendChild(document.createElement("label"));
    const box = label.appendChild(document.createElement("input"));
    Object.assign(box, { type: model.get("several") ? "checkbox" : "radio", name });
    label.appendChild(document.createElement("span")).innerHTML = option;
    return box;
  });
  const picked = () => boxes.flatMap((box, number) => (box.checked ? [number] : []));
  group.onchange = () => {
    model.set("picked", picked());
    model.save_changes();
  };
  // The button tells what is picked once more: a kernel with subshells may hear of the button
  // before it hears of the pick.
  if (model.get("check")) button(el, "Check", model.get("check"), () => model.send({ picked: picked() }));
  const update = () => {
    boxes.forEach((box, number) => (box.checked = model.get("picked").includes(number)));
    group.disabled = model.get("disabled");
  };
  return follow(model, ["picked", "disabled"], update);
}

// What screen readers say when it changes; for that it has to be there before.
function announcement({ model, el }) {
  const region = el.appendChild(document.createElement("div"));
  region.setAttribute("role", "status");
  return follow(model, ["value"], () => (region.innerHTML = model.get("value")));
}

// A button that asks for a file. That of ipywidgets counts the files in its label.
function upload({ model, el }) {
  const input = el.appendChild(document.createElement("input"));
  Object.assign(input, { type: "file", accept: model.get("accept"), hidden: true });
  button(el, model.get("label"), model.get("title"), () => input.click());
  input.onchange = async () => {
    const [file] = input.files;
    input.value = ""; // the same file can be chosen again
    if (file) model.send({ name: file.name }, undefined, [await file.arrayBuffer()]);
  };
}

function button(el, label, title, onclick) {
  const made = el.appendChild(document.createElement("button"));
  const className = "jupyter-widgets jupyter-button widget-button";
  Object.assign(made, { className, textContent: label, title, onclick });
}

function follow(model, names, update) {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, update);
  update();
  return () => events.forEach((event) => model.off(event, update));
}

const parts = { keys, choices, announcement, upload };
export default { render: (view) => parts[view.model.get("part")](view) };
