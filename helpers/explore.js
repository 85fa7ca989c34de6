// The picture of an explore widget with its alternative text, and for the controls around it
// what ipywidgets leaves out: names for the sliders, and a status line that is read aloud.

function show({ model, el }) {
  const image = document.createElement("img");
  image.alt = model.get("alt");
  image.width = model.get("width");
  image.height = model.get("height");
  image.decoding = "sync"; // no blank between two pictures
  Object.assign(image.style, { display: "block", maxWidth: "100%", height: "auto" });
  const update = () => {
    const old = image.src;
    image.src = URL.createObjectURL(new Blob([model.get("value")], { type: "image/svg+xml" }));
    URL.revokeObjectURL(old);
  };
  model.on("change:value", update);
  update();
  el.append(image);
  return () => {
    model.off("change:value", update);
    URL.revokeObjectURL(image.src);
  };
}

function set(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function describe(box) {
  const status = box.querySelector(".course-status .widget-html-content");
  if (status) set(status, "role", "status"); // from the start, or nothing is read aloud
  for (const slider of box.querySelectorAll(".widget-slider")) {
    const handle = slider.querySelector("[role=slider]");
    const label = slider.querySelector(".widget-label")?.textContent;
    const readout = slider.querySelector(".widget-readout");
    if (!handle || !label || !readout) continue;
    set(handle, "aria-label", label);
    set(handle, "aria-valuetext", readout.textContent); // ipywidgets' own is rounded
    set(readout, "role", "textbox"); // it can be edited
    set(readout, "aria-label", label);
  }
}

function render({ model, el }) {
  const hide = show({ model, el });
  const giveKeysBack = keepKeys(() => el.parentElement);
  const changes = new MutationObserver(() => describe(el.parentElement));
  // The controls may come later than this, and this is put into the page later.
  const placed = new ResizeObserver(() => {
    if (!el.parentElement) return;
    placed.disconnect();
    describe(el.parentElement);
    changes.observe(el.parentElement, {
      subtree: true,
      childList: true,
      attributeFilter: ["aria-valuetext", "aria-valuenow"],
    });
  });
  placed.observe(el);
  return () => {
    placed.disconnect();
    changes.disconnect();
    giveKeysBack();
    hide();
  };
}

export default { render };
