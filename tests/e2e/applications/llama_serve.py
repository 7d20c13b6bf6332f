"""Serves a model, whole on the GPU, at port 8080 of the loopback until SIGTERM: llama_serve.py MODEL

The wheel's own server answers only the first request: it keeps the tokens of the last one in its context."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from cyllama import LLM, GenerationConfig

from steps import block_signals, next_signal, step

block_signals()
model = LLM(sys.argv[1], config=GenerationConfig(n_gpu_layers=-1, n_ctx=512, max_tokens=16, seed=1))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = json.dumps({"tokens": model.generate_with_stats(prompt).stats.generated_tokens}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


with HTTPServer(("127.0.0.1", 8080), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    step("serving")
    next_signal()
    server.shutdown()
model.close()
step("done", passed=True)
