const problems = [];
const page = document.documentElement;
if (page.scrollWidth > page.clientWidth) problems.push(`the page is ${page.scrollWidth} wide on a screen of ${page.clientWidth}`);
for (const resource of performance.getEntriesByType("resource")) {
  if (!resource.name.startsWith("data:")) problems.push(`${resource.name} is fetched`);
}
const meets = (a, b) => {
  const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  // A box of text is higher than its letters.
  return width > 1 && height > 4;
};
for (const svg of document.querySelectorAll("figure svg")) {
  const words = [...svg.querySelectorAll("text")].filter((word) => word.textContent);
  const boxes = words.map((word) => word.getBoundingClientRect());
  const frame = svg.closest("figure").getBoundingClientRect();
  boxes.forEach((box, at) => {
    if (box.left < frame.left || box.right > frame.right) problems.push(`"${words[at].textContent}" is cut off`);
    for (let other = at + 1; other < boxes.length; other++) {
      if (meets(box, boxes[other])) problems.push(`"${words[at].textContent}" lies over "${words[other].textContent}"`);
    }
  });
  if (svg.getBoundingClientRect().height < 20) problems.push("a picture has no height");
}
const blocks = [...document.querySelectorAll("h1, h2, .sentence, .duo > div, .table, figure, pre.command, .tiles > div")];
const frames = blocks.map((block) => block.getBoundingClientRect());
frames.forEach((frame, at) => {
  for (let other = at + 1; other < frames.length; other++) {
    if (blocks[at].contains(blocks[other])) continue;
    if (meets(frame, frames[other])) problems.push(`${blocks[at].textContent.slice(0, 20)} lies over ${blocks[other].textContent.slice(0, 20)}`);
  }
});
const save = document.querySelector('a[download="journal.ndjson.gz"]');
if (!save || !save.href.startsWith("data:application/gzip;base64,")) problems.push("the journal is not in the page");
const headings = [...document.querySelectorAll("section > h2")].map((heading) => heading.textContent).join(", ");
const pictures = document.querySelectorAll("figure svg").length;
top.document.title = `headings: ${headings}; pictures: ${pictures}; screen: ${innerWidth}; problems: ${problems.join(", ") || "none"}`;
