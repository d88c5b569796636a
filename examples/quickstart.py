from procession import Procession, Worker

app = Procession()  # the embedded Valkey of this project, or PROCESSION_URL


@app.job(queue="mail", timeout="30s")
async def send_mail(to: str, subject: str = "hello") -> str:
    return f"sent {subject!r} to {to}"


@app.worker(queue="images", retry=False)
class Resize(Worker):
    def perform(self, path: str, width: int) -> str:
        return f"{path} is {width} wide"


if __name__ == "__main__":
    job = send_mail.enqueue("ada@example.org")
    Resize.using(delay="1s").enqueue("cat.png", width=80)
    print(job.result(timeout=30), app.stats())
