// JupyterLab's own keys, such as d d (delete the cell) and the arrows (go to the next one), act on
// whatever has the focus. In the box they leave the control alone. Those that a learner means
// for the notebook still work there: Ctrl+S saves, Shift+Enter runs the cell, Escape leaves it.

export function keepKeys(box) {
  const decide = (event) => {
    if (!box()?.contains(event.target)) return;
    const meant =
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.key === "Escape" ||
      (event.shiftKey && event.key === "Enter");
    // What JupyterLab looks for. It starts at the control and would not get as far as the box.
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !meant);
  };
  // On the window, which has the key before the document does, where JupyterLab waits for it.
  window.addEventListener("keydown", decide, true);
  return () => window.removeEventListener("keydown", decide, true);
}
