const at = Date.parse(document.querySelector("time").dateTime);
const look = () => document.body.classList.toggle("old", Date.now() - at > 1000 * document.body.dataset.old);
look();
setInterval(look, 5000);
