/// The known key a misspelt one most likely means; nil when none is close.
///
/// Close is an optimal-string-alignment distance (insertions, deletions, substitutions and swaps of neighbours, each
/// at cost 1, letters compared without case) of at most a third of the key's length, and at least 2 for longer keys;
/// a key that begins with the other counts as close too. Ties go to the first in `known`.
func closestKey(to key: String, among known: [String]) -> String? {
    let wanted = Array(key.lowercased().utf8)
    guard (1...64).contains(wanted.count) else { return nil }
    let limit = wanted.count < 4 ? 1 : max(2, wanted.count / 3)
    var best: (key: String, distance: Int)?
    for candidate in known {
        let letters = Array(candidate.lowercased().utf8)
        var distance = alignmentDistance(wanted, letters)
        if distance > limit, wanted.count >= 3, letters.count >= 3,
            letters.starts(with: wanted) || wanted.starts(with: letters)
        {
            distance = limit
        }
        if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.key
}

/// Optimal string alignment (restricted Damerau–Levenshtein), by dynamic programming over three rows.
private func alignmentDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...right.count)
    for i in 0..<left.count {
        var row = [i + 1]
        row.reserveCapacity(right.count + 1)
        for j in 0..<right.count {
            var cost = min(row[j] + 1, last[j + 1] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
            if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                cost = min(cost, beforeLast[j - 1] + 1)
            }
            row.append(cost)
        }
        beforeLast = last
        last = row
    }
    return last[right.count]
}
