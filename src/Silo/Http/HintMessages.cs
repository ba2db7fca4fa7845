using System.ComponentModel;
using KvCache.Caching;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>What is known of when blocks are used again, in a body.</summary>
internal record HintBody
{
    [Description("How the answer ended: tool_call, end_of_turn or one_shot.")]
    public string? End { get; set; }

    [Description("0 to 100: ten points above 50 make a block worth four times as much, ten below a fourth.")]
    public int? Priority { get; set; }

    [Description("Seconds after their last use for which the blocks go last among those of their tenant.")]
    public double? Retention { get; set; }

    [Description("What the tokens are: system_prompt, document or conversation.")]
    public string? Kind { get; set; }

    /// <exception cref="HttpProblemException">A value is out of its bounds.</exception>
    public CacheHint ToHint() => HintText.ToHint(End, Priority, Retention, Kind);
}

/// <summary>Tells what is known of a prompt after its answer.</summary>
internal sealed record HintRequest : PromptRequest
{
    [Description("Id or encoding of the namespace.")]
    public required string Namespace { get; set; }

    [Description("What is known.")]
    public required HintBody Hint { get; set; }
}

/// <summary>Who was told.</summary>
internal sealed record HintReply([property: Description("Blocks of the prompt that somebody has, counted from the first one.")] int Blocks);

/// <summary>What is known of when a block is used again, in a query.</summary>
internal readonly struct HintQuery
{
    [FromQuery(Name = "end")]
    [Description("How the answer ended: tool_call, end_of_turn or one_shot.")]
    public string? End { get; init; }

    [FromQuery(Name = "priority")]
    [Description("0 to 100: ten points above 50 make a block worth four times as much, ten below a fourth.")]
    public int? Priority { get; init; }

    [FromQuery(Name = "retention")]
    [Description("Seconds after its last use for which the block goes last among those of its tenant.")]
    public double? Retention { get; init; }

    [FromQuery(Name = "kind")]
    [Description("What the tokens are: system_prompt, document or conversation.")]
    public string? Kind { get; init; }

    /// <summary>The hint; null when nothing is said.</summary>
    /// <exception cref="HttpProblemException">A value is out of its bounds.</exception>
    public CacheHint? ToHint() => HintText.ToHint(End, Priority, Retention, Kind) is { IsEmpty: false } hint ? hint : null;
}

/// <summary>Hints as HTTP spells them.</summary>
internal static class HintText
{
    /// <exception cref="HttpProblemException">A value is out of its bounds.</exception>
    public static CacheHint ToHint(string? end, int? priority, double? retention, string? kind) => priority is < 0 or > 100
        ? throw new HttpProblemException(HttpProblem.Invalid($"The priority is {priority}; 0 to 100 was expected."))
        : new CacheHint
        {
            End = Find(HintNames.Ends, end, "end"),
            Priority = priority,
            Retention = ExpireRequest.TimeOf(retention, $"The retention is {retention} s; more than 0 was expected, or no 'retention'."),
            Kind = Find(HintNames.Kinds, kind, "kind"),
        };

    private static T Find<T>(IReadOnlyDictionary<string, T> known, string? text, string name)
        where T : struct => text is null ? default
        : known.TryGetValue(text, out var value) ? value
        : throw new HttpProblemException(HttpProblem.Invalid(
            $"The {name} '{HttpProblem.Shorten(text)}' is not known; there are {string.Join(", ", known.Keys)}."));
}
