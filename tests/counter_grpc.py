"""A service for the tests that counts its work: in gRPC."""

import os
import threading
import time

import grpc

messages, services = grpc.protos_and_services("counter.proto")


class Counter(services.CounterServicer):
    def __init__(self):
        self._lock, self._done = threading.Lock(), 0

    def Work(self, request, context):
        time.sleep(request.seconds)
        with self._lock:
            self._done += 1
        return self.Done(request, context)

    def Done(self, request, context):
        return messages.Count(done=self._done, pid=os.getpid())

    def Boom(self, request, context):
        raise LookupError("no such card")

    def WorkTwice(self, request, context):
        yield self.Work(request, context)
        yield self.Work(request, context)

    def BoomInStream(self, request, context):
        yield self.Done(request, context)
        raise LookupError("no such stream")


servicer = Counter()
