// The editor of the SQL page: takes the place of the form's text area, and keeps its value up to date.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { SQLite, sql } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { EditorState, Prec } from "@codemirror/state";
import { drawSelection, EditorView, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colors = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--code-keyword)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.lineComment, tags.blockComment], color: "var(--code-comment)", fontStyle: "italic" },
  { tag: tags.typeName, color: "var(--code-type)" },
]);

const look = EditorView.theme({
  "&": { color: "var(--body-fg)", backgroundColor: "var(--body-bg)", fontSize: "0.8125rem", borderRadius: "6px" },
  "&.cm-focused": { outline: "2px solid var(--inspection-focus)", outlineOffset: "-1px" },
  ".cm-scroller": { fontFamily: "var(--font-family-monospace)", lineHeight: "1.55", minHeight: "9.5rem", maxHeight: "45vh" },
  ".cm-content": { caretColor: "var(--body-fg)", padding: "0.6rem 0" },
  ".cm-cursor": { borderLeftColor: "var(--body-fg)" },
  ".cm-gutters": { color: "var(--body-quiet-color)", backgroundColor: "var(--darkened-bg)", border: "0", borderRadius: "6px 0 0 6px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--inspection-selection)",
  },
  ".cm-tooltip": { color: "var(--body-fg)", backgroundColor: "var(--body-bg)", border: "1px solid var(--border-color)", borderRadius: "6px" },
  ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--font-family-monospace)" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": { color: "var(--body-fg)", backgroundColor: "var(--selected-row)" },
  ".cm-completionDetail": { color: "var(--body-quiet-color)", fontStyle: "normal" },
});

function replace(area) {
  const schema = JSON.parse(document.getElementById("sql-schema").textContent);
  const host = document.createElement("div");
  host.className = "editor";
  // A shadow root takes constructed style sheets, which the site's policy allows; a document gets inline ones.
  const root = host.attachShadow({ mode: "open" });
  area.before(host);
  area.hidden = true;
  area.required = false;
  const run = (name) => () => {
    area.form.requestSubmit(area.form.querySelector(`button[name=${name}]`));
    return true;
  };
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: area.value,
      extensions: [
        Prec.highest(keymap.of([
          { key: "Mod-Enter", run: run("run") },
          { key: "Mod-Shift-Enter", run: run("plan") },
        ])),
        lineNumbers(),
        history(),
        drawSelection(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ icons: false }),
        sql({ dialect: SQLite, schema, upperCaseKeywords: true }),
        syntaxHighlighting(colors),
        keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...historyKeymap, ...completionKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": area.labels[0].textContent }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) area.value = update.state.doc.toString();
        }),
        look,
      ],
    }),
  });
  area.labels[0].addEventListener("click", () => view.focus());
  // Saved statements and those of the history are put here.
  area.addEventListener("fill", () => {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: area.value } });
    view.focus();
  });
  view.focus();
}

const area = document.getElementById("sql");
if (area) replace(area);
