"""What axe-core, a checker for the rules of WCAG 2, finds in the texts and outputs of a notebook."""

from axe_playwright_python.base import AXE_SCRIPT

# JupyterLab's own parts, such as its editors and tool bars, are its own business.
PARTS = ".jp-RenderedMarkdown", ".jp-OutputArea-output"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# No rules of WCAG, but they make sense of headings and of pictures.
MORE = ["empty-heading", "heading-order", "image-redundant-alt"]

# axe passes over what is scrolled away. So all that is around the cells is made as high as they
# are, and higher, and what would lie above them is taken away.
_UNROLLED = """
    :has(.jp-WindowedPanel-inner) {
        min-height: 100000px !important;
        overflow: visible !important;
    }
    .jp-Cell { content-visibility: visible !important }
    body :not(:has(.jp-Notebook), .jp-Notebook, .jp-Notebook *),
    .jp-Notebook-footer, .jp-cell-toolbar { visibility: hidden !important }
"""
_CHECK = """([parts, levels, more]) => {
    document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0);
    axe.configure({rules: [
        // JupyterLab does not underline the links in Markdown and in printed text.
        {id: 'link-in-text-block', selector: '.jupyter-widgets a[href]'},
        // axe cannot tell what is behind the text of a drawing, as test_system and test_live do,
        // behind that of a list, which has a picture of an arrow from ipywidgets, and in a cell
        // over several rows, which JupyterLab stripes.
        {id: 'color-contrast', selector: ':not(svg *, select, [rowspan], [rowspan] *)'},
    ]});
    return axe.run({include: parts.map(part => [part])}, {
        runOnly: levels,
        rules: Object.fromEntries(more.map(rule => [rule, {enabled: true}])),
        resultTypes: ['violations', 'incomplete'],
    });
}"""


def faults(notebook):
    """What is wrong, a line for each; nothing when all is well.

    What axe cannot decide is a fault, too: it may hide one.
    """
    page = notebook.page
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    unrolled = page.add_style_tag(content=_UNROLLED)
    found = page.evaluate(_CHECK, [PARTS, LEVELS, MORE])
    unrolled.evaluate("style => style.remove()")
    return [
        f"{rule['id']}: {node['html'][:160]} at {node['target'][0]} ({_reason(node)})"
        for rule in found["violations"] + found["incomplete"]
        for node in rule["nodes"]
    ]


def _reason(node):
    checks = node["any"] + node["all"] + node["none"]
    return checks[0]["message"] if checks else node["impact"]
