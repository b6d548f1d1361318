import Logging
import OrchestryModel
import PostgresStore
import Scheduling

/// A revision's image is looked at once, before its first instance: see `ImageReviewer`.
extension LeaderTerm {
    /// The application as the reconciler may have it: held, and a review begun, where one is needed and not there yet. A
    /// review that an earlier leader began, and did not live to see the end of, is made again.
    func reviewed(_ application: Application) -> Application {
        let review = application.imageReview
        let isDone = review?.revision == application.revision && review?.verdict != .pending
        guard application.status == .running, !isDone, surroundings.reviewer.isNeeded(application.spec) else {
            return application
        }
        var held = application
        held.imageReview = ImageReview(revision: application.revision, verdict: .pending)
        if reviewing.insert(application.name).inserted { submit(.review(application.name)) }
        return held
    }

    /// Ends by handing the app to the reconciler again, whatever became of it meanwhile.
    func review(_ name: AppName) async {
        guard let application = applications[name] else {
            reviewing.remove(name)
            return
        }
        let finding = await surroundings.reviewer.review(application.spec, secrets: application.secrets)
        await writeLock.withLock {
            await self.take(finding, for: application)
            reviewing.remove(name)
            if let current = applications[name] { reconcile(.applicationChanged(current)) }
        }
    }

    /// Under the write lock.
    private func take(_ finding: ImageReviewer.Finding, for application: Application) async {
        let name = application.name
        // Where PostgreSQL can't be asked, nothing is written on the strength of what memory holds.
        var problem: StoreError?
        do throws(StoreError) { try await settle() } catch { problem = error }
        guard surroundings.isActive(epoch), var current = applications[name], current.revision == application.revision
        else { return }
        current.imageReview = ImageReview(
            revision: current.revision, verdict: finding.refusal == nil ? .accepted : .refused, digest: finding.digest,
            reason: finding.refusal ?? "")
        var changes: [StateChange] = [.saveApplication(current)]
        if let digest = finding.digest { changes.append(.pinImage(name, revision: current.revision, digest: digest)) }
        do throws(StoreError) {
            if let problem { throw problem }
            isInDoubt = true
            try await surroundings.store.write(changes, epoch: epoch, leader: surroundings.me.id, turn: nextTurn())
            isInDoubt = false
        } catch {
            if error.isFenced { return surroundings.fenced(epoch) }
            // In memory it counts all the same; whoever reads the state again looks at the image again.
            logger.warning("An image review could not be stored", metadata: ["app": "\(name)", "error": "\(error)"])
        }
        applications[name] = current
        guard let refusal = finding.refusal else { return }
        surroundings.record(
            .revisionRefused, name, "Revision \(current.revision) of \(name) was refused: \(refusal.prefix(500))",
            [
                "revision": JSONValue(current.revision), "image": .string(current.spec.image),
                "reason": .string(refusal),
            ])
    }
}
