// While the run goes on, the page fetches itself again whenever the server says that there is more to see.
const listen = (take) => {
  const source = new EventSource(`events${location.search}`);
  let isBusy = false, isLate = false;
  const fetchAgain = async () => {
    isLate = true;
    if (isBusy) return;
    isBusy = true;
    try {
      while (isLate) {
        isLate = false;
        const answer = await fetch(location.pathname + location.search);
        if (answer.ok) await take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch (error) {
      announce(`The page could not be brought up to date: ${error.message}`);
    } finally {
      isBusy = false;
    }
  };
  source.addEventListener("report", fetchAgain);
  source.addEventListener("end", () => source.close());
};

// Take over what the server wrote; what scripts made stays.
const takeOver = (page) => {
  for (const id of ["verdict", "numbers", "attention", "stages", "benchmarks", "environment"]) {
    const [old, now] = [document.getElementById(id), page.getElementById(id)];
    if (old && now) { old.className = now.className; old.replaceChildren(...now.childNodes); }
  }
  document.querySelectorAll(".static").forEach((old) => {
    const now = page.querySelector(`#${old.parentElement.id} .static`);
    if (now) old.replaceChildren(...now.childNodes);
  });
  document.title = page.title;
};
