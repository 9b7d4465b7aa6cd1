// What a page is checked for inside the browser: each function gives a list of what is wrong.
({
  // Sideways scrolling of the page itself, and what sticks out.
  overflow() {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("body *")]
      .filter((one) => one.getBoundingClientRect().right > width + 0.5 && !one.parentElement.closest(".scroll, pre"))
      .map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`);
  },
  images() {
    return [...document.images]
      .filter((one) => !one.complete || one.naturalWidth === 0 || !one.alt.trim())
      .map((one) => one.alt || one.src.slice(0, 60));
  },
  // Links within the page that lead nowhere, and ids that two elements have.
  anchors() {
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const links = [...document.querySelectorAll('a[href^="#"]')].map((one) => one.getAttribute("href").slice(1));
    return [...links.filter((id) => !ids.includes(id)), ...ids.filter((id, place) => ids.indexOf(id) !== place)];
  },
  // One first heading, and no level left out.
  headings() {
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]));
    const wrong = levels.filter((level, place) => place && level > levels[place - 1] + 1);
    return levels.filter((level) => level === 1).length === 1 ? wrong : ["not one h1"];
  },
  // Rows of a table with more or fewer columns than its first one.
  tables() {
    return [...document.querySelectorAll("table")].filter((table) => {
      const held = [], widths = new Set();
      for (const row of table.rows) {
        const place = row.rowIndex;
        for (const cell of row.cells)
          for (let down = 0; down < cell.rowSpan; down++) held[place + down] = (held[place + down] || 0) + cell.colSpan;
        widths.add(held[place]);
      }
      return widths.size !== 1;
    }).map((table) => table.textContent.slice(0, 60));
  },
  // Text whose contrast with what is behind it is below WCAG 2.2 AA (1.4.3).
  contrast() {
    const rgb = (text) => text.match(/[\d.]+/g).map(Number);
    const luminance = (colour) => {
      const [r, g, b] = colour.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
      for (; one; one = one.parentElement) {
        const colour = rgb(getComputedStyle(one).backgroundColor);
        if (colour.length < 4 || colour[3] === 1) return colour;
      }
      return [255, 255, 255];
    };
    const wrong = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const one = walker.currentNode.parentElement;
      if (!walker.currentNode.textContent.trim() || !one.getClientRects().length) continue;
      const style = getComputedStyle(one), size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const [light, dark] = [luminance(rgb(style.color)), luminance(behind(one))].sort((a, b) => b - a);
      if ((light + 0.05) / (dark + 0.05) < (large ? 3 : 4.5))
        wrong.add(`${one.tagName}.${one.className} ${style.color} ${((light + 0.05) / (dark + 0.05)).toFixed(2)}`);
    }
    return [...wrong];
  },
  // Every element of the page, in order, with how deep it is.
  tree() {
    const found = [];
    const walk = (one, depth) => { found.push([one.localName, depth]); for (const inner of one.children) walk(inner, depth + 1); };
    walk(document.documentElement, 0);
    return found;
  },
})
