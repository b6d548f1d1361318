import OrchestryModel

/// What a session of PostgreSQL (and this process) does for the first time takes it tens of milliseconds: rows of the
/// catalogue, plans, functions' code. They would be the first of a new leader, with every client waiting; so each
/// session does it once, as soon as it is open and nobody needs it.
extension StateStore {
    /// Reads what a new leader reads, and writes what a client's change writes, without leaving anything.
    /// - Parameter schema: the version this release knows; another release's tables are left alone.
    static func warmUp(_ connection: DatabaseConnection, schema: Int, deadline: Deadline) {
        do throws(StoreError) {
            guard try connection.run(exists, deadline: deadline).first?.bool(0) == true,
                try connection.run(schemaVersion, deadline: deadline).first?.int(0) == schema
            else { return }
            let reads = everything.map {
                // All of the plan is made, and little of it runs.
                Statement("SELECT * FROM (\($0.sql)) AS everything LIMIT 5")
            }
            _ = try desiredState(try connection.transaction(reads, deadline: deadline))
            try connection.rehearse([Statement(refusals)] + writes(), deadline: deadline)
        } catch {
            // Whoever comes next finds a session that is cold, or finds out what is wrong and says so.
        }
    }

    private static let exists = Statement("SELECT to_regclass('schema_migrations') IS NOT NULL")

    /// The functions that each write begins with, up to the refusals that an epoch before all epochs meets. They are
    /// caught here, so that they don't appear in the server's log.
    private static let refusals =
        """
        DO $$ BEGIN
            BEGIN PERFORM orchestry_fence('', -1); EXCEPTION WHEN SQLSTATE 'ORF01' THEN NULL; END;
            BEGIN PERFORM orchestry_take_turn(-1, 0); EXCEPTION WHEN SQLSTATE 'ORF02' THEN NULL; END;
            PERFORM set_config('orchestry.rehearsal', 'on', TRUE);
        END $$
        """

    /// New rows under a name that no app can have: nobody waits for their locks.
    private static func writes() throws(StoreError) -> [Statement] {
        let name = AppName(unchecked: "-rehearsal-\(UInt64.random(in: .min ... .max))")
        let node = NodeID(unchecked: "-rehearsal")
        let spec = AppSpec(name: name, image: "none", ports: [])
        let now = WallTime(milliseconds: 0)
        let application = Application(
            spec: spec, document: .object([:]), revision: 1, status: .stopped, replicas: 0, createdAt: now,
            updatedAt: now)
        // Not the audit trail: its lock would make others wait.
        let changes: [StateChange] = [
            .saveApplication(application),
            .saveRevision(name, revision: 1, document: application.document, spec: spec, at: now),
            .recordEvent(Event(node: node, time: now, app: name, kind: .appUpdated, message: "")),
            .completeRequest(
                key: name.rawValue, response: ControlResponse(body: application.document), actor: "", at: now),
        ]
        var statements: [Statement] = []
        for change in changes { statements += try change.statements(epoch: .none) }
        return statements
    }
}
