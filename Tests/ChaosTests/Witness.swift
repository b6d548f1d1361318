import Foundation
import OrchestryModel
import TestSupport

/// What PostgreSQL knows of the acts of leaders, gathered by triggers of the test that record and change nothing:
/// every change of epoch, and every event that a leader stored with the epoch it claims.
struct Witness: Sendable {
    struct Act: Sendable, Hashable {
        /// What the writer claims, and what the lease said to the writer's transaction.
        var epoch: Int64
        var leaseEpoch: Int64
        var node: String
        var key: String
        /// By PostgreSQL's clock, in the order of commits: microseconds.
        var committed: Int64
    }

    struct Revision: Sendable, Hashable {
        var app: String
        var revision: Int
        var marker: Int
    }

    var epochs: [(epoch: Int64, leader: String)]
    /// In the order of their commits.
    var acts: [Act]
    var revisions: [Revision]
    /// What the app's own row says.
    var current: [String: RevisionHistory.Value]
    /// How many answers are stored for keys of the test.
    var answers: [String: Int]

    /// To be run once the tables exist.
    static let triggers = """
        CREATE TABLE chaos_epochs (epoch BIGINT, leader TEXT);
        INSERT INTO chaos_epochs SELECT epoch, leader_id FROM leader_lease;
        CREATE FUNCTION chaos_epoch() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO chaos_epochs VALUES (NEW.epoch, NEW.leader_id); RETURN NULL; END $$;
        CREATE TRIGGER chaos_epoch AFTER UPDATE ON leader_lease FOR EACH ROW
            WHEN (OLD.epoch IS DISTINCT FROM NEW.epoch) EXECUTE FUNCTION chaos_epoch();
        CREATE TABLE chaos_acts (id BIGSERIAL, epoch BIGINT, lease_epoch BIGINT, node TEXT, key TEXT);
        CREATE FUNCTION chaos_act() RETURNS TRIGGER LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO chaos_acts (epoch, lease_epoch, node, key)
            SELECT NEW.epoch, l.epoch, NEW.node_id, COALESCE(NEW.details ->> 'request', '') FROM leader_lease l;
            RETURN NULL;
        END $$;
        CREATE TRIGGER chaos_act AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION chaos_act();
        """

    /// Lets every write through, whatever its epoch and turn: the mutant that shows what they are for.
    static let removeFence = """
        CREATE OR REPLACE FUNCTION orchestry_fence(writer TEXT, writer_epoch BIGINT) RETURNS VOID LANGUAGE plpgsql AS
            $$ BEGIN END $$;
        CREATE OR REPLACE FUNCTION orchestry_take_turn(writer_epoch BIGINT, writer_turn BIGINT) RETURNS VOID
            LANGUAGE plpgsql AS $$ BEGIN END $$
        """

    /// Blocking.
    init(_ postgres: PrivatePostgres, _ database: String, apps: [String]) throws {
        func rows(_ sql: String) throws -> [[String]] {
            try postgres.query(sql, on: database).split(separator: "\n").map {
                $0.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            }
        }
        func number(_ text: String) throws -> Int64 {
            guard let number = Int64(text) else { throw ChaosFailure("PostgreSQL says '\(text)' for a number") }
            return number
        }
        let names = "(\(apps.map { "'\($0)'" }.joined(separator: ",")))"
        let marker = """
            (SELECT v ->> 'value' FROM jsonb_array_elements(document -> 'environment') v
            WHERE v ->> 'name' = 'MARKER')
            """
        epochs = try rows("SELECT epoch, leader FROM chaos_epochs ORDER BY epoch").map { (try number($0[0]), $0[1]) }
        acts = try rows(
            """
            SELECT epoch, lease_epoch, node, key,
                (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
            FROM chaos_acts ORDER BY pg_xact_commit_timestamp(xmin), id
            """
        ).map {
            Act(
                epoch: try number($0[0]), leaseEpoch: try number($0[1]), node: $0[2], key: $0[3],
                committed: try number($0[4]))
        }
        revisions = try rows(
            "SELECT app_name, revision, \(marker) FROM revisions WHERE app_name IN \(names) ORDER BY 1, 2"
        ).map { Revision(app: $0[0], revision: Int(try number($0[1])), marker: Int(try number($0[2]))) }
        current = Dictionary(
            uniqueKeysWithValues: try rows(
                "SELECT name, revision, \(marker) FROM applications WHERE name IN \(names)"
            ).map { ($0[0], .init(revision: Int(try number($0[1])), marker: Int(try number($0[2])))) })
        answers = Dictionary(
            uniqueKeysWithValues: try rows("SELECT key, count(*) FROM requests GROUP BY key").map {
                ($0[0], Int(try number($0[1])))
            })
    }
}

/// What a node says in its log about itself as a leader, and about the commands it obeyed as an agent.
struct NodeLog: Sendable {
    /// A time in which the node could act under an epoch, by the machine's clock; `until` is nil when it did not say.
    struct Tenure: Sendable, Hashable {
        var node: String
        var epoch: Int64
        var since: Int64
        var until: Int64?
    }

    var tenures: [Tenure] = []
    /// In the order they were obeyed, by process: a restarted agent remembers nothing.
    var obeyed: [[Int64]] = [[]]

    /// - Parameter ends: when the node's process was killed, by the machine's clock.
    init(node: String, text: String, ends: [Int64]) throws {
        for line in text.split(separator: "\n") where line.hasPrefix("{") {
            // A process that was killed in the middle of a line leaves half of it.
            guard let entry = try? JSONDecoder().decode(JSONValue.self, from: Data(line.utf8)) else { continue }
            let epoch = entry["epoch"]?.stringValue.flatMap { Int64($0) }
            let time = entry["monotonic.ns"]?.stringValue.flatMap { Int64($0) }
            switch entry["message"]?.stringValue {
            case "Node started":
                if obeyed.last?.isEmpty == false { obeyed.append([]) }
            case "Leading":
                guard let epoch, let time else { throw ChaosFailure("\(node) logged \(line)") }
                if let last = tenures.last, last.epoch == epoch, last.until == nil { continue }
                tenures.append(Tenure(node: node, epoch: epoch, since: time, until: nil))
            case "Not leading any more":
                guard let epoch, let time, tenures.last?.epoch == epoch else {
                    throw ChaosFailure("\(node) logged \(line) after \(tenures.suffix(1))")
                }
                tenures[tenures.count - 1].until = time
            case "Order obeyed":
                guard let epoch else { throw ChaosFailure("\(node) logged \(line)") }
                obeyed[obeyed.count - 1].append(epoch)
            default: break
            }
        }
        for index in tenures.indices where tenures[index].until == nil {
            tenures[index].until = ends.first { $0 >= tenures[index].since }
        }
    }

    /// Pairs of tenures under different epochs that overlap.
    static func overlaps(_ tenures: [Tenure]) -> [(Tenure, Tenure)] {
        var found: [(Tenure, Tenure)] = []
        for (index, one) in tenures.enumerated() {
            for other in tenures[(index + 1)...] where one.epoch != other.epoch || one.node != other.node {
                if one.since < other.until ?? .max, other.since < one.until ?? .max { found.append((one, other)) }
            }
        }
        return found
    }
}
