// Elements by id, and new ones, with text that is never read as HTML.

/** @param {string} id */
export function find(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** @param {string} id */
export const list = (id) => /** @type {HTMLOListElement | HTMLUListElement} */ (find(id));

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {{ class?: string, data?: Record<string, string> }} about
 * @param {...(string | Node)} content
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, about, ...content) {
  const made = document.createElement(tag);
  if (about.class) made.className = about.class;
  Object.assign(made.dataset, about.data ?? {});
  made.append(...content);
  return made;
}
