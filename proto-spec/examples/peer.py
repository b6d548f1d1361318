#!/usr/bin/env python3
"""A small peer of an Orchestry cluster, written from proto-spec/*.md alone: it joins over plain TCP with a shared secret
as a voter that never stands for election and runs no containers, or as a worker. Standard library only.

  peer.py vectors FOLDER              decodes and encodes the golden vectors; status 1 when one is not as it should be
  peer.py show FILE…                  prints what it makes of vectors, as below their dividers
  peer.py decode                      the same for frames in hexadecimal, one a line, from standard input; one line each:
                                      the correlation and the message, or the error
  peer.py run --id controller-3 --cluster C --listen HOST:PORT --peer controller-1=HOST:PORT … [--worker]
                                      the secret comes in ORCHESTRY_CLUSTER_SECRET"""
import argparse
import asyncio
import hashlib
import hmac
import json
import os
import pathlib
import random
import secrets
import sys
import time

import wire

PROMISE = 0.5  # P of lease.md
VOTE_HOLD = 0.25
ELECTION = {"Heartbeat", "HeartbeatAck", "VoteRequest", "VoteReply", "Released", "Ping", "Pong", "Renew", "Error"}


def now():
    """Monotonic, and counts through suspend where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def log(event, **facts):
    print(event, *(f"{name}={value}" for name, value in facts.items()), flush=True)


class Voter:
    """The rules of lease.md for a voter that never stands: L1, L6, L7 and its part of L3. No input or output."""

    def __init__(self, started):
        self.amnesia_until = started + PROMISE
        self.highest = 0
        self.promise = None  # (leader, epoch, until)
        self.released = {}   # leader -> the highest epoch it gave up
        self.granted = None  # (candidate, when)

    def bound(self, at, to=None):
        """Whether a promise runs, to somebody other than `to`."""
        return self.promise is not None and at < self.promise[2] and self.promise[0] != to

    def handle(self, peer, name, fields, at):
        """-> the (name, fields) to answer with, or None."""
        if name == "Heartbeat":
            return self.heartbeat(peer, fields, at)
        if name == "VoteRequest":
            held = self.granted and self.granted[0] != peer and at - self.granted[1] < VOTE_HOLD
            grant = at >= self.amnesia_until and not self.bound(at) and not held
            if grant:
                self.granted = (peer, at)
            return "VoteReply", {"round": fields["round"], "granted": grant, "highest epoch": self.highest}
        if name == "VoteReply":
            self.highest = max(self.highest, fields["highest epoch"])
        if name == "Released":
            self.highest = max(self.highest, fields["epoch"])
            self.released[peer] = max(self.released.get(peer, 0), fields["epoch"])
            if self.promise and self.promise[0] == peer and self.promise[1] <= fields["epoch"]:
                self.promise = None
        return None

    def heartbeat(self, peer, fields, at):
        epoch = fields["epoch"]
        if epoch < self.highest:
            return "VoteReply", {"round": 0, "granted": False, "highest epoch": self.highest}
        self.highest = epoch
        if epoch <= self.released.get(peer, -1) or at < self.amnesia_until or self.bound(at, to=peer):
            return None
        self.promise = (peer, epoch, at + PROMISE)
        return "HeartbeatAck", fields


class Closed(Exception):
    """The connection is over, and why."""


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.limit = wire.LIMITS["hello"]
        self.last_byte = now()
        self.incarnation = self.peer = self.channel = None

    def send(self, name, fields, correlation=0):
        self.writer.write(wire.encode(name, fields, correlation))

    async def receive(self):
        """-> (correlation, name, fields). Bad bytes end the connection with an Error frame, as errors.md wants."""
        try:
            length = wire.frame_length(await self.reader.readexactly(4), self.limit)
            message = wire.decode(await self.reader.readexactly(length))
        except wire.WireError as error:
            self.end(error.code, error.name)
        except (asyncio.IncompleteReadError, OSError):
            raise Closed("the peer is gone") from None
        self.last_byte = now()
        return message

    async def expect(self, wanted):
        correlation, name, fields = await self.receive()
        if name == "Error":
            raise Closed(f"the peer says {fields['code']}: {fields['message']}")
        if name != wanted or correlation != 0:
            self.end(27, f"{name} instead of {wanted}")
        return fields

    def end(self, code, reason):
        self.send("Error", {"code": code, "message": reason})
        raise Closed(reason)


class Peer:
    def __init__(self, options, secret):
        self.id, self.cluster, self.secret = options.id, options.cluster, secret
        self.worker = options.worker
        host, port = options.listen.rsplit(":", 1)
        self.host, self.port = host, int(port)
        self.others = dict(entry.split("=", 1) for entry in options.peer if not entry.startswith(self.id + "="))
        self.incarnation = secrets.randbits(64)
        self.voter = Voter(now())
        self.connections = {}  # (peer, channel) -> Connection
        self.held = {}         # peer -> what came before both connections stood
        self.known = set()     # peers that were told what this one runs
        self.table = (0, 0)    # the version of the routing table
        self.obeyed = 0        # the highest epoch of a command or table (L5)
        self.leader = None

    def node(self):
        return {"id": self.id, "role": "worker" if self.worker else "controller", "host": self.host,
                "cluster port": 0 if self.worker else self.port, "API URL": ""}

    def proof(self, side, dialler, acceptor, channel, dialler_nonce, acceptor_nonce):
        spoken = ["orchestry-1", side, self.cluster, dialler, acceptor, channel]
        transcript = b"".join(word.encode() + b"\0" for word in spoken)
        transcript += bytes.fromhex(dialler_nonce) + bytes.fromhex(acceptor_nonce)
        return hmac.new(self.secret, transcript, hashlib.sha256).hexdigest()

    # --- The Hello exchange

    async def dial(self, peer, address, channel):
        wait = 0.05
        while True:
            try:
                host, port = address.rsplit(":", 1)
                local = None if self.host in ("0.0.0.0", "::") else (self.host, 0)
                streams = await asyncio.wait_for(asyncio.open_connection(host, int(port), local_addr=local), 2)
                connection = Connection(*streams)
                try:
                    await asyncio.wait_for(self.introduce(connection, peer, channel), 2)
                    wait = 0.05
                    await self.serve(connection)
                finally:
                    connection.writer.close()
            except (Closed, OSError, asyncio.TimeoutError) as reason:
                log("closed", peer=peer, channel=channel, reason=repr(str(reason)))
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(wait * 2, 1)

    async def introduce(self, connection, peer, channel):
        nonce = secrets.token_hex(32)
        connection.send("Hello", {
            "lowest version": wire.VERSION, "highest version": wire.VERSION, "cluster": self.cluster,
            "node": self.node(), "incarnation": self.incarnation, "channel": channel, "features": 0, "nonce": nonce})
        challenge = await connection.expect("HelloChallenge")
        words = (self.id, peer, channel, nonce, challenge["nonce"])
        if not hmac.compare_digest(challenge["proof"], self.proof("acceptor", *words)):
            connection.end(25, "the proof is wrong")
        connection.send("HelloProof", {"proof": self.proof("dialer", *words)})
        accepted = await connection.expect("HelloAccepted")
        if accepted["version"] != wire.VERSION or accepted["node"]["id"] != peer:
            connection.end(23, f"{accepted['node']['id']} answers")
        self.adopt(connection, peer, channel, accepted["incarnation"])

    async def accept(self, reader, writer):
        connection = Connection(reader, writer)
        try:
            await asyncio.wait_for(self.admit(connection), 2)
            await self.serve(connection)
        except (Closed, asyncio.TimeoutError) as reason:
            log("closed", peer=connection.peer, channel=connection.channel, reason=repr(str(reason)))
        finally:
            writer.close()

    async def admit(self, connection):
        hello = await connection.expect("Hello")
        peer, channel = hello["node"]["id"], hello["channel"]
        if hello["lowest version"] > wire.VERSION:
            connection.end(21, "only version 1 is spoken here")
        if hello["cluster"] != self.cluster:
            connection.end(22, f"this is cluster {self.cluster}")
        if peer == self.id:
            connection.end(24, "that is my name")
        if hello["node"]["role"] == "controller" and not peer < self.id:
            connection.end(28, "I dial you")
        if hello["nonce"] == "":
            connection.end(25, "no nonce")
        words = (peer, self.id, channel, hello["nonce"], secrets.token_hex(32))
        connection.send("HelloChallenge", {"nonce": words[-1], "proof": self.proof("acceptor", *words)})
        answer = await connection.expect("HelloProof")
        if not hmac.compare_digest(answer["proof"], self.proof("dialer", *words)):
            connection.end(25, "the proof is wrong")
        await self.settle_name(connection, peer, hello["incarnation"])
        self.adopt(connection, peer, channel, hello["incarnation"])
        connection.send("HelloAccepted", {"version": wire.VERSION, "node": self.node(),
                                          "incarnation": self.incarnation, "features": 0})

    async def settle_name(self, connection, peer, incarnation):
        """framing.md, "Two connections under one name"."""
        old = [c for (name, _), c in self.connections.items() if name == peer and c.incarnation != incarnation]
        asked = now()
        for standing in old:
            standing.send("Ping", {})
        while any(standing in self.connections.values() for standing in old) and now() < asked + 0.3:
            if any(standing.last_byte > asked for standing in old):
                connection.end(24, f"{peer} is here already")
            await asyncio.sleep(0.01)
        for standing in old:
            standing.writer.close()

    # --- Life of a pair

    def adopt(self, connection, peer, channel, incarnation):
        before = self.connections.get((peer, channel))
        if before:
            before.writer.close()
        connection.peer, connection.channel, connection.incarnation = peer, channel, incarnation
        connection.limit = wire.LIMITS[channel]
        self.connections[peer, channel] = connection
        log("accepted", peer=peer, channel=channel)

    def is_connected(self, peer):
        return all((peer, channel) in self.connections for channel in ("control", "bulk"))

    async def serve(self, connection):
        peer = connection.peer
        watch = asyncio.ensure_future(self.watch(connection))
        try:
            if self.is_connected(peer) and peer not in self.known:
                self.known.add(peer)
                log("connected", peer=peer)
                self.send_inventory(peer)
                for message in self.held.pop(peer, []):
                    self.handle(*message)
            while True:
                correlation, name, fields = await connection.receive()
                if name in ELECTION or self.is_connected(peer):
                    self.handle(connection, correlation, name, fields)
                elif len(self.held.setdefault(peer, [])) < 1000:
                    self.held[peer].append((connection, correlation, name, fields))
                else:
                    connection.end(27, "too much before both connections stand")
        finally:
            watch.cancel()
            if self.connections.get((peer, connection.channel)) is connection:
                del self.connections[peer, connection.channel]
                self.held.pop(peer, None)
                self.known.discard(peer)
                bulk = self.connections.get((peer, "bulk"))
                if bulk and connection.channel == "control":
                    bulk.writer.close()

    async def watch(self, connection):
        while True:
            await asyncio.sleep(0.25)
            silent = now() - connection.last_byte
            if silent > 3:
                connection.writer.close()
            elif silent > 0.5:
                connection.send("Ping", {})

    def handle(self, connection, correlation, name, fields):
        peer, request = connection.peer, correlation != 0 and correlation % 2 == 0
        if name == "Heartbeat" and fields["epoch"] >= self.voter.highest and peer != self.leader:
            self.leader = peer
            log("leader", peer=peer, epoch=fields["epoch"])
            self.send_inventory(peer)
        if not self.worker:
            answer = self.voter.handle(peer, name, fields, now())
            if answer:
                connection.send(*answer)
            if name == "VoteRequest":
                log("vote", peer=peer, granted=answer[1]["granted"])
        if name == "Error" and not correlation % 2:
            raise Closed(f"the peer says {fields['code']}: {fields['message']}")
        if name == "Ping":
            connection.send("Pong", {}, correlation + 1 if request else 0)
        elif name == "RoutingTable" and (fields["epoch"], fields["number"]) >= self.table:
            self.table = (fields["epoch"], fields["number"])
            self.learn(fields["epoch"])  # Nothing is routed here, so the table is served at once.
            connection.send("RoutingAck", {"epoch": fields["epoch"], "number": fields["number"]},
                            correlation + 1 if request else 0)
        elif name == "InstanceCommand" and fields["epoch"] < self.obeyed:
            connection.send("Refused", {"epoch": self.obeyed}, correlation + 1 if request else 0)
        elif name in ("InstanceCommand", "Refused", "Inventory"):
            self.learn(fields["epoch" if "epoch" in fields else "highest epoch"], name == "InstanceCommand")
            if request:
                connection.send("Error", {"code": 40, "message": "this peer runs nothing"}, correlation + 1)
        elif request:
            connection.send("Error", {"code": 40, "message": "this peer runs nothing"}, correlation + 1)

    def learn(self, epoch, is_own=True):
        """An epoch that an agent knows counts like one in a message of the election; `is_own`: this node's agent does."""
        self.voter.highest = max(self.voter.highest, epoch)
        if is_own:
            self.obeyed = max(self.obeyed, epoch)

    def send_inventory(self, peer):
        # A worker may not have heard yet who leads; who does not lead ignores it.
        if (peer == self.leader or self.worker) and self.is_connected(peer):
            self.connections[peer, "bulk"].send("Inventory", {
                "node": self.id, "highest epoch": self.obeyed, "capacity CPU": 0, "capacity memory": 0,
                "engine available": False, "instances": []})

    async def run(self):
        tasks = [asyncio.ensure_future(self.dial(peer, address, channel)) for peer, address in self.others.items()
                 if self.worker or self.id < peer for channel in ("control", "bulk")]
        if not self.worker:
            server = await asyncio.start_server(self.accept, self.host, self.port)
            tasks.append(asyncio.ensure_future(server.serve_forever()))
        log("ready", id=self.id)
        while True:
            await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
            for peer, channel in list(self.connections):
                if channel == "bulk":
                    self.send_inventory(peer)


# --- Vectors

def read_vector(path):
    """-> (bytes, limit, expected text)"""
    upper, _, expected = path.read_text().partition("\n----\n")
    data, limit = b"", wire.LIMITS["bulk"]
    for line in upper.splitlines():
        if line.startswith("@limit "):
            limit = wire.LIMITS[line.split()[1]]
        else:
            data += bytes.fromhex(line.partition("#")[0])
    return data, limit, expected


def outcome(data, limit, form="correlation: {}\n{} {}\n"):
    try:
        length = wire.frame_length(data[:4], limit)
        assert len(data) == 4 + length, "not one whole frame"
        correlation, name, fields = wire.decode(data[4:])
        return form.format(correlation, name, json.dumps(fields, ensure_ascii=False))
    except wire.WireError as error:
        return f"error: {error.name}\n"


def check_vectors(folder):
    wrong, files = 0, sorted(pathlib.Path(folder).glob("*.txt"))
    for path in files:
        data, limit, expected = read_vector(path)
        if outcome(data, limit) != expected:
            wrong += 1
            print(f"{path.stem}: {outcome(data, limit)}  instead of\n{expected}")
        if expected.startswith("correlation: ") and path.stem != "hello-newer-release":
            first, second = expected.splitlines()
            name, fields = second.split(" ", 1)
            if wire.encode(name, json.loads(fields), int(first.split()[1])) != data:
                wrong += 1
                print(f"{path.stem}: what is expected is encoded to other bytes")
    print(f"{len(files)} vectors, {wrong} wrong")
    return 1 if wrong or not files else 0


def main():
    parser = argparse.ArgumentParser(description="A small peer of an Orchestry cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("vectors").add_argument("folder")
    commands.add_parser("decode")
    commands.add_parser("show").add_argument("file", nargs="+", type=pathlib.Path)
    run = commands.add_parser("run")
    for name in ("--id", "--cluster", "--listen"):
        run.add_argument(name, required=True)
    run.add_argument("--peer", action="append", default=[])
    run.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    if options.command == "vectors":
        sys.exit(check_vectors(options.folder))
    if options.command == "decode":
        for line in sys.stdin:
            print(outcome(bytes.fromhex(line), wire.LIMITS["bulk"], "{} {} {}\n"), end="")
        return
    if options.command == "show":
        for path in options.file:
            data, limit, _ = read_vector(path)
            print(outcome(data, limit), end="")
        return
    asyncio.run(Peer(options, os.environ["ORCHESTRY_CLUSTER_SECRET"].encode()).run())


if __name__ == "__main__":
    main()
