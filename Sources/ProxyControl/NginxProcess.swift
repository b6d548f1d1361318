import Glibc
import Logging
import ProxyConfig

/// One folder's nginx as a process: starts it, finds it again, reloads and stops it. Blocking.
struct NginxProcess: Sendable {
    let binary: String
    let layout: ProxyLayout
    /// For starting, and for each reload's taking effect, seconds.
    let timeout: Double

    /// The running master, if there is one.
    func runningMaster() -> Int32? {
        let text = Files.text(layout.pidPath) ?? ""
        guard let pid = Int32(text.filter { !$0.isWhitespace }), Processes.isMaster(pid, of: layout.folder) else {
            return nil
        }
        return pid
    }

    /// Whether nginx takes the file as a configuration.
    func test(_ path: String) throws(ProxyError) {
        let outcome = try nginx(["-t", "-q"], config: path)
        guard outcome.status != 0 else { return }
        throw ProxyError(.rejected, while: "testing the configuration", Self.reason(outcome.output))
    }

    /// Starts nginx with the configuration in place and waits until it answers.
    /// - Returns: the master's pid.
    func launch() throws(ProxyError) -> Int32 {
        endOrphans()
        // nginx does not bind over a socket file that a killed master has left.
        unlink(layout.adminSocketPath)
        unlink(layout.pidPath)
        let outcome = try nginx([], config: layout.configPath)
        guard outcome.status == 0 else {
            throw ProxyError(.startFailed, while: "starting nginx", Self.reason(outcome.output))
        }
        let deadline = ContinuousClock.now + .seconds(timeout)
        while ContinuousClock.now < deadline {
            if let pid = runningMaster(), generation() != nil { return pid }
            usleep(1000)  // On the controller's own queue.
        }
        throw ProxyError(.startFailed, while: "starting nginx", "it does not answer")
    }

    /// The fingerprint of the configuration that is serving; nil when nothing answers.
    func generation() -> String? {
        // Not running, or not ours: both mean that a start or a reload is due.
        guard let answer = try? LocalHTTP.exchange(socket: layout.adminSocketPath, target: "/generation", timeout: 1)
        else { return nil }
        return answer.status == 200 ? answer.body.split(separator: "\n").first.map(String.init) : nil
    }

    /// Has the master read the configuration in place, and waits until only workers that run with it take connections.
    /// - Throws: `rejected` when nginx could not put it into effect, for example because a port is taken; the old
    ///   workers then go on.
    func reload(_ master: Int32, to generation: String) throws(ProxyError) {
        let before = Processes.servingWorkers(of: master)
        let logged = Files.size(layout.errorLogPath)
        let operation = "reloading nginx"
        guard kill(master, SIGHUP) == 0 else { throw .system(operation, "pid \(master)", errno) }
        let deadline = ContinuousClock.now + .seconds(timeout)
        var wait: UInt32 = 500
        while ContinuousClock.now < deadline {
            usleep(wait)  // On the controller's own queue.
            wait = min(wait * 5 / 4, 20_000)
            let serving = Processes.servingWorkers(of: master)
            if serving.isDisjoint(with: before), serving.count >= layout.workerProcesses,
                self.generation() == generation
            {
                return
            }
            if let reason = finalEmergency(Files.text(layout.errorLogPath, from: logged) ?? "") {
                throw ProxyError(.rejected, while: operation, reason)
            }
            guard Processes.isAlive(master) else { throw ProxyError(.notRunning, while: operation, "nginx is gone") }
        }
        throw ProxyError(.timeout, while: operation, "not in effect after \(timeout) s")
    }

    /// - Parameter graceful: lets requests in flight end, for `timeout` seconds at most.
    func stop(_ master: Int32, graceful: Bool) {
        kill(master, graceful ? SIGQUIT : SIGTERM)
        if !waitForEnd(of: [master], seconds: timeout) {
            kill(master, SIGTERM)
            if !waitForEnd(of: [master], seconds: 2) { kill(master, SIGKILL) }
        }
        // Only if the master was a child of ours and nobody else collects it.
        waitpid(master, nil, WNOHANG)
        endOrphans()
    }

    /// Workers that outlived their master serve on, and hold the ports. They are asked to finish what they have, which
    /// frees the ports at once.
    func endOrphans() {
        let orphans = Processes.orphans(in: layout.folder)
        guard !orphans.isEmpty else { return }
        for pid in orphans { kill(pid, SIGQUIT) }
        let deadline = ContinuousClock.now + .seconds(2)
        while ContinuousClock.now < deadline {
            if orphans.allSatisfy({ !Processes.isAlive($0) || Processes.title($0).hasSuffix("is shutting down") }) {
                return
            }
            usleep(1000)  // On the controller's own queue.
        }
        for pid in orphans where Processes.isAlive(pid) && !Processes.title(pid).hasSuffix("is shutting down") {
            kill(pid, SIGKILL)
        }
    }

    /// Has nginx open its log files anew once the error log is larger than `limit` bytes.
    func rotateErrorLog(_ master: Int32, limit: Int) {
        guard Files.size(layout.errorLogPath) > limit else { return }
        if rename(layout.errorLogPath, layout.errorLogPath + ".1") == 0 { kill(master, SIGUSR1) }
    }

    private func nginx(_ arguments: [String], config: String) throws(ProxyError) -> Command.Outcome {
        try Command.run(
            binary, arguments + ["-p", layout.folder + "/", "-c", config, "-e", layout.errorLogPath],
            folder: layout.folder, output: layout.folder + "/command.out", timeout: max(timeout, 10))
    }

    private func waitForEnd(of pids: [Int32], seconds: Double) -> Bool {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < deadline {
            if !pids.contains(where: Processes.isAlive) { return true }
            usleep(2000)  // On the controller's own queue.
        }
        return !pids.contains(where: Processes.isAlive)
    }

    /// The emergency that made nginx give a reload up. It tries a port that is taken five times before.
    private func finalEmergency(_ log: String) -> String? {
        let lines = log.split(separator: "\n").filter { $0.contains("[emerg]") }
        guard let last = lines.last(where: { !$0.contains(": bind() to ") && !$0.contains(" bind() to ") }) else {
            return nil
        }
        return Self.reason((lines.filter { $0.contains("bind() to ") }.suffix(1) + [last]).joined(separator: "\n"))
    }

    /// What nginx complained about, without time stamps and pids, at most three lines.
    static func reason(_ output: String) -> String {
        var reasons: [String] = []
        for line in output.split(separator: "\n") where line.contains("[emerg]") || line.contains("[alert]") {
            let text = line.split(separator: "] ", maxSplits: 1).last.map(String.init) ?? String(line)
            var words = text.split(separator: " ")[...]
            if let first = words.first, first.contains("#") { words = words.dropFirst() }
            let reason = words.joined(separator: " ")
            if !reasons.contains(reason) { reasons.append(reason) }
        }
        return reasons.isEmpty ? String(output.suffix(300)) : reasons.prefix(3).joined(separator: "; ")
    }
}
