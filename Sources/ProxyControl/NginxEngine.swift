@preconcurrency import Dispatch
import Glibc
import Logging
import OrchestryModel
import ProxyConfig

/// Owns one folder's nginx. Everything in here blocks, one thing after the other, on the actor's own queue.
///
/// The order that a crash at any point leaves something sound behind: first the membership file, then the running
/// membership, then the tested configuration, then the reload. A nginx that starts reads both files. Where they can't be
/// written, a running nginx is told all the same (`NginxEngine+Stored.swift`).
actor NginxEngine {
    /// Set by `start()`.
    struct Running {
        var process: NginxProcess
        var layout: ProxyLayout
        /// The folder's lock.
        var lock: Int32
        /// nil while nginx is down.
        var master: Int32?
        /// Of the configuration that is serving.
        var generation: String
    }

    struct Restarts {
        var failures = 0
        var since: ContinuousClock.Instant?
        var next: ContinuousClock.Instant?
    }

    nonisolated let executor = SerialQueueExecutor(label: "orchestry.proxy.control")
    /// Its own, so that a reload under way does not hold it up.
    private let wakeQueue = DispatchQueue(label: "orchestry.proxy.wake")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    let settings: ProxySettings
    let logger: Logger
    let shared: NginxShared
    var running: Running?
    var restarts = Restarts()
    var capacity = ProxyCapacity()
    var certificates = CertificateShelf(folder: "")
    /// The list nginx has not taken yet.
    var pendingFacades: FacadeList?
    /// The newest table that was asked for in this process; nil before.
    private var applied: RoutingTable.Version?
    /// What is served, where the files could not be written and are older.
    var unstored: RoutingTable?
    private var settled: (ticket: UInt64, outcome: Result<AppliedResult, ProxyError>)?
    private var ticker: Ticker?
    private var wakeSocket: WakeSocket?
    private var ticks = 0

    init(settings: ProxySettings, logger: Logger, shared: NginxShared) {
        self.settings = settings
        self.logger = logger
        self.shared = shared
    }

    deinit {
        if let running { close(running.lock) }
    }

    // MARK: - Starting and stopping

    /// Brings nginx up with the last table this folder has seen, or takes over the one that runs.
    func start() throws(ProxyError) {
        guard running == nil else { return }
        let installation = try Installation.find(settings)
        let folder = try prepareFolder()
        let lock = try Files.lock(folder + "/lock")
        do throws(ProxyError) {
            try bringUp(installation, folder, lock)
        } catch {
            running = nil
            close(lock)
            throw error
        }
        shared.publish(running?.layout)
        listenForWaiting()
        ticker = Ticker(queue: executor.queue, milliseconds: 100) { [weak self] in
            self?.assumeIsolated { $0.tick() }
        }
    }

    /// Without it, waiting requests are found by those who look each second.
    private func listenForWaiting() {
        guard let layout = running?.layout, layout.mode == .lua else { return }
        do throws(ProxyError) {
            wakeSocket = try WakeSocket(path: layout.wakeSocketPath, queue: wakeQueue) { [shared] in
                shared.requestsWait()
            }
        } catch {
            logger.warning("Idle apps are woken up to a second later", metadata: ["error": "\(error)"])
        }
    }

    /// Gives up control. nginx runs on.
    func release() {
        ticker = nil
        wakeSocket = nil
        shared.publish(nil)
        if let running { close(running.lock) }
        running = nil
        applied = nil
        unstored = nil
    }

    func stop(graceful: Bool) {
        if let running, let master = running.master { running.process.stop(master, graceful: graceful) }
        running?.process.endOrphans()
        release()
    }

    private func prepareFolder() throws(ProxyError) -> String {
        try Files.makeFolder(settings.folder, mode: 0o755)
        let folder = try Files.resolved(settings.folder)
        guard folder.utf8.count <= 80 else {
            throw ProxyError(.inputOutput, while: "preparing the proxy's folder", "\(folder) is longer than 80 bytes")
        }
        try Files.makeFolder(folder + "/admin", mode: 0o700)
        try Files.makeFolder(folder + "/lua", mode: 0o755)
        try Files.makeFolder(folder + "/temp", mode: 0o755)
        try Files.makeFolder(folder + "/tls", mode: 0o700)
        for file in LuaSources.files where Files.read(folder + "/lua/" + file.name) != file.bytes {
            try Files.replace(folder + "/lua/" + file.name, file.bytes, mode: 0o644)
        }
        return folder
    }

    private func bringUp(_ installation: Installation, _ folder: String, _ lock: Int32) throws(ProxyError) {
        switch settings.mode {
        case .plain: try bringUp(installation, folder, lock, .plain)
        case .lua:
            guard installation.luaModules != nil else {
                throw ProxyError(
                    .notInstalled, while: "looking for nginx's Lua module",
                    "libnginx-mod-http-lua and lua-resty-core are needed in mode lua")
            }
            try bringUp(installation, folder, lock, .lua)
        case .auto:
            do throws(ProxyError) {
                guard installation.luaModules != nil else {
                    throw ProxyError(.notInstalled, while: "looking for nginx's Lua module", "it is not installed")
                }
                try bringUp(installation, folder, lock, .lua)
            } catch {
                guard error.code == .rejected || error.code == .notInstalled else { throw error }
                logger.warning("nginx runs without Lua", metadata: ["error": "\(error)"])
                try bringUp(installation, folder, lock, .plain)
                shared.report(.fellBackToPlain(error.message))
            }
        }
    }

    private func bringUp(
        _ installation: Installation, _ folder: String, _ lock: Int32, _ mode: ProxyMode
    ) throws(ProxyError) {
        let layout = ProxyLayout(settings, installation, folder: folder, mode: mode)
        let process = NginxProcess(binary: installation.binary, layout: layout, timeout: settings.effectTimeoutSeconds)
        running = Running(
            process: process, layout: layout, lock: lock, master: process.runningMaster(),
            generation: process.generation() ?? "")
        certificates = CertificateShelf(folder: layout.certificateFolder)
        try prepareFacades(layout)
        let table = StoredTable.load(folder) ?? .empty
        do throws(ProxyError) {
            try putInPlace(table)
        } catch {
            // A stored table that nginx does not take (any more) must not keep the node from starting.
            guard error.code == .rejected, running?.master == nil, table != .empty else { throw error }
            logger.error("the stored routes were refused", metadata: ["error": "\(error)"])
            try putInPlace(.empty)
        }
    }

    private func putInPlace(_ table: RoutingTable) throws(ProxyError) {
        let wasRunning = running?.master
        _ = try effect(table)
        if let wasRunning, running?.master == wasRunning { shared.report(.adopted(pid: wasRunning)) }
    }

    // MARK: - Applying

    /// Sees to it that the table of `ticket`, or a later one, is in effect. Calls that waited while another one worked
    /// find theirs done with it.
    func settle(_ ticket: UInt64) throws(ProxyError) -> AppliedResult {
        if let settled, settled.ticket >= ticket { return try settled.outcome.get() }
        let (desired, latest) = shared.desired()
        let outcome: Result<AppliedResult, ProxyError>
        do throws(ProxyError) {
            outcome = .success(try apply(desired))
        } catch {
            outcome = .failure(error)
        }
        settled = (latest, outcome)
        return try outcome.get()
    }

    private func apply(_ desired: NginxShared.Desired) throws(ProxyError) -> AppliedResult {
        guard let running else { throw ProxyError(.notRunning, while: "applying routes", "not started") }
        if let applied, desired.table.version < applied {
            throw ProxyError(
                .stale, while: "applying routes", "\(desired.table.version) is older than \(applied), which is applied")
        }
        applied = desired.table.version
        let table = desired.table.serving(excluding: desired.excluded)
        unstored = nil
        try storing(table) { () throws(ProxyError) in try StoredTable.save(table, running.layout.folder) }
        do throws(ProxyError) {
            return try effect(table, desired.certificates)
        } catch {
            if error.code == .rejected {
                logger.error("nginx refused a configuration", metadata: ["error": "\(error)"])
                shared.report(.configurationRejected(error.message))
            }
            throw error
        }
    }

    /// Membership first, always: a structure that is refused must not hold up the endpoints of other apps.
    private func effect(
        _ table: RoutingTable, _ material: [AppName: AppCertificate] = [:]
    ) throws(ProxyError) -> AppliedResult {
        guard let layout = running?.layout else {
            throw ProxyError(.notRunning, while: "applying routes", "not started")
        }
        let states = try takeCertificates(of: table, material)
        let structure = ProxyStructure(
            table, reserved: layout.reserved, certificates: certificates.fingerprints)
        capacity = capacity.fitting(table)
        let pushed = try pushMembership(structure, table, layout)
        let rendered = ConfigRenderer(layout: layout, capacity: capacity).render(structure)
        let reloaded = try putIntoEffect(rendered, layout)
        certificates.discard(except: Set(states.keys))
        // A membership that the old workers could not take is read from its file by new ones; if there are none:
        if case .failure(let error) = pushed, !reloaded { throw error }
        return AppliedResult(
            version: table.version, generation: rendered.generation, reloaded: reloaded,
            problems: structure.problems, certificates: states)
    }

    private func pushMembership(
        _ structure: ProxyStructure, _ table: RoutingTable, _ layout: ProxyLayout
    ) throws(ProxyError) -> Result<Void, ProxyError> {
        guard layout.mode == .lua else { return .success(()) }
        let text = MembershipText.render(structure.routes, version: table.version)
        try storing(table) { () throws(ProxyError) in
            try Files.replace(layout.membershipPath, text.utf8, mode: 0o600)
        }
        guard running?.master != nil else { return .success(()) }
        do throws(ProxyError) {
            try tell(text, layout)
            return .success(())
        } catch {
            return .failure(error)
        }
    }

    /// The running membership.
    func tell(_ text: String, _ layout: ProxyLayout) throws(ProxyError) {
        let answer = try LocalHTTP.exchange(
            socket: layout.adminSocketPath, method: "PUT", target: "/membership", body: text)
        guard answer.status == 200 else {
            throw ProxyError(.badAnswer, while: "updating endpoints", "\(answer.status) \(answer.body.prefix(200))")
        }
    }

    /// - Returns: whether nginx was reloaded or started for it.
    private func putIntoEffect(_ rendered: RenderedConfig, _ layout: ProxyLayout) throws(ProxyError) -> Bool {
        guard var running else { return false }
        let upToDate = running.generation == rendered.generation
        if upToDate && running.master != nil { return false }
        let old = Files.read(layout.configPath)
        let next = layout.folder + "/next.conf"
        try Files.replace(next, rendered.text.utf8, mode: 0o600)
        try running.process.test(next)
        if rename(next, layout.configPath) != 0 { throw .system("replacing the configuration", next, errno) }
        do throws(ProxyError) {
            if let master = running.master, Processes.isAlive(master) {
                shared.countReload()
                try running.process.reload(master, to: rendered.generation)
            } else {
                let pid = try running.process.launch()
                running.master = pid
                restarts = Restarts(since: .now)
                shared.report(.started(pid: pid))
            }
        } catch {
            // A nginx that restarts must come up with what was serving.
            if let old { try Files.replace(layout.configPath, old, mode: 0o600) }
            // After a reload that timed out it may be the new one.
            self.running?.generation = running.process.generation() ?? running.generation
            throw error
        }
        running.generation = rendered.generation
        self.running = running
        return true
    }

    // MARK: - Supervision

    /// Each 100 ms: brings nginx back when its master is gone: at once the first time, then after 0.2 s, doubling up to
    /// 10 s; a minute of quiet starts the series again.
    private func tick() {
        guard var running else { return }
        ticks += 1
        let now = ContinuousClock.now
        if let master = running.master {
            // Now and then also whether the pid is still nginx's.
            if Processes.isAlive(master), !ticks.isMultiple(of: 10) || running.process.runningMaster() == master {
                if ticks.isMultiple(of: 5) { pushFacades() }
                if ticks.isMultiple(of: 10) { storeAgain() }
                if ticks.isMultiple(of: 100) {
                    running.process.rotateErrorLog(master, limit: settings.errorLogLimit)
                }
                return
            }
            waitpid(master, nil, WNOHANG)
            running.master = nil
            self.running = running
            logger.error("nginx is gone", metadata: ["pid": "\(master)"])
            shared.report(.masterExited(pid: master))
            if let since = restarts.since, now - since > .seconds(60) { restarts = Restarts() }
            restarts.next = now + delay()
        }
        guard let next = restarts.next, now >= next else { return }
        restarts.failures += 1
        do throws(ProxyError) {
            let pid = try running.process.launch()
            running.master = pid
            self.running = running
            restarts.since = .now
            restarts.next = nil
            logger.info("nginx was started again", metadata: ["pid": "\(pid)"])
            shared.report(.started(pid: pid))
        } catch {
            restarts.next = .now + delay()
            logger.error("nginx does not start", metadata: ["error": "\(error)"])
            shared.report(.restartFailed(error.message))
        }
    }

    private func delay() -> Duration {
        guard restarts.failures > 0 else { return .zero }
        return .milliseconds(min(200 << min(restarts.failures - 1, 10), 10_000))
    }
}
