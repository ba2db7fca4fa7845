namespace KvCache.Engine.Wire;

/// <summary>Answer to a put.</summary>
/// <param name="Outcomes">What became of each block.</param>
/// <param name="Alternatives">Addresses of a silo with more room, when there was none for some block; may be empty.</param>
internal readonly record struct PutReply(PutOutcome[] Outcomes, IReadOnlyList<string> Alternatives);
