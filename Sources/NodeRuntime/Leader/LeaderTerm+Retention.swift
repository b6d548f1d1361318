import Logging
import NodeConfiguration
import OrchestryModel
import PostgresStore
import RecordArchive

extension DynamicSettings {
    /// How long rows stay in PostgreSQL.
    func days(of table: HistoryTable) -> Int {
        switch table {
        case .events: eventsDays
        case .metrics: metricsDays
        }
    }
}

/// Partitions are made ahead, and those past their retention archived and dropped. A partition is dropped only when its
/// archive is on the disk, was read back whole, and holds as many rows as the partition does at that moment.
extension LeaderTerm {
    /// Ten seconds into the term, then every ten minutes. Runs until cancelled.
    func retain() async {
        var wait = Duration.seconds(10)
        var lastProblem: String?
        while !Task.isCancelled {
            do { try await Task.sleep(for: wait) } catch { return }
            guard surroundings.isActive(epoch) else {
                wait = .seconds(1)
                continue
            }
            do {
                try await retainOnce()
                lastProblem = nil
                wait = .seconds(600)
            } catch {
                if Task.isCancelled { return }
                logger.warning("Retention could not run; trying again", metadata: ["error": "\(error)"])
                // Once for each problem: PostgreSQL grows until somebody mends it. What is only away, comes back.
                let isPassing = (error as? StoreError).map { $0.isRetryable || $0.isFenced } ?? false
                if !isPassing, lastProblem != "\(error)" {
                    lastProblem = "\(error)"
                    surroundings.record(
                        .retentionFailed, nil,
                        "Old rows stay in PostgreSQL, because they can't be archived or dropped: \(error)", [:])
                }
                wait = .seconds(60)
            }
        }
    }

    private func retainOnce() async throws {
        let (store, me) = (surroundings.store, surroundings.me.id)
        let now = surroundings.clock.wall()
        _ = try await store.maintain(now: now, epoch: epoch, leader: me)
        let settings = surroundings.settings()
        for table in HistoryTable.allCases {
            let age = Int64(settings.days(of: table)) * 86_400_000
            let expired = try await store.expiredPartitions(
                of: table, before: WallTime(milliseconds: now.milliseconds - age), epoch: epoch, leader: me)
            for partition in expired {
                guard surroundings.isActive(epoch), !Task.isCancelled else { return }
                try await retire(partition, archiveFolder: surroundings.configuration.archiveFolder)
            }
        }
    }

    private func retire(_ partition: HistoryPartition, archiveFolder: String?) async throws {
        guard let archiveFolder else {
            _ = try await surroundings.store.drop(
                partition, holding: nil, epoch: epoch, leader: surroundings.me.id)
            return surroundings.record(
                .historyDropped, nil, "\(partition.name) was dropped: it is past its retention", [:])
        }
        let writer = try await ArchiveWriter.make(
            folder: ArchiveFolder(path: archiveFolder), table: partition.table.rawValue, partition: partition.name,
            node: surroundings.me.id)
        let manifest: ArchiveManifest?
        do {
            manifest = try await write(partition, with: writer)
        } catch {
            writer.cancel()
            throw error
        }
        let isGone = try await surroundings.store.drop(
            partition, holding: manifest?.rows ?? 0, epoch: epoch, leader: surroundings.me.id)
        guard isGone else {
            // Late rows: the next round archives all of them.
            if let manifest { writer.withdraw(manifest) }
            return logger.notice(
                "Rows came while a partition was archived; it is archived again",
                metadata: ["partition": "\(partition.name)"])
        }
        guard let manifest else { return }
        surroundings.record(
            .historyArchived, nil,
            "\(manifest.rows) rows of \(partition.name) were archived in \(archiveFolder)/\(manifest.table)/"
                + "\(manifest.name).jsonl.gz (\(manifest.fileBytes) bytes) and dropped",
            manifest.json)
    }

    /// - Returns: nil when the partition is empty.
    private func write(
        _ partition: HistoryPartition, with writer: ArchiveWriter
    ) async throws -> ArchiveManifest? {
        var last: Int64?
        while true {
            let rows = try await surroundings.store.rows(of: partition, after: last, limit: 2_000)
            guard let end = rows.last?.id else { break }
            try await writer.append(rows)
            last = end
        }
        return try await writer.finish(
            starts: partition.starts, ends: partition.ends, at: surroundings.clock.wall())
    }
}
