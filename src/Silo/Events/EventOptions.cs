using System.ComponentModel.DataAnnotations;
using System.Net;
using KvCache.Engine.Events;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Options;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Events;

/// <summary>KV events: what this silo tells of its blocks, and which engines it listens to.</summary>
internal sealed class EventOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Events";

    /// <summary>
    /// Address of the PUB socket, <c>ip:port</c>; empty for none (the default). It tells hashes, never tokens, never bytes: on a silo with
    /// tenants, those of its own blocks to who proves a tenant's secret; without, all to whoever reaches it, which is a loopback address.
    /// </summary>
    public string Publish { get; set; } = "";

    /// <summary>Front part of the topics; the namespace's id follows. Default <c>kv@</c>.</summary>
    [StringLength(128)]
    public string Topic { get; set; } = "kv@";

    /// <summary>How events are written: <see cref="KvEventFormat.Maps"/> (default) for vLLM 0.24 and newer, <see
    /// cref="KvEventFormat.Arrays"/> for older consumers.</summary>
    public KvEventFormat Format { get; set; } = KvEventFormat.Maps;

    /// <summary>Hashes as integers of 64 bits instead of 32 bytes. Default false.</summary>
    public bool IntegerHashes { get; set; }

    /// <summary>Most subscribers at a time. Default 16.</summary>
    [Range(1, 1024)]
    public int MaxSubscribers { get; set; } = 16;

    /// <summary>Batches that wait for a slow subscriber; further ones are dropped for it, which it sees by their numbers. Default
    /// 1024.</summary>
    [Range(1, 1_000_000)]
    public int MaxQueuedBatches { get; set; } = 1024;

    /// <summary>Most blocks that are remembered of one engine. Default 262,144 (about 40 MB); further ones are not known to lie
    /// there.</summary>
    [Range(1, 100_000_000)]
    public int MaxEngineBlocks { get; set; } = 262_144;

    /// <summary>Engines to listen to, by the name that <c>/v1/locate</c> gives them. Default none.</summary>
    public Dictionary<string, Engine> Engines { get; } = new(StringComparer.Ordinal);

    /// <summary>One engine. Its hashes name neither tenant nor model, so that both are said here.</summary>
    public sealed class Engine
    {
        /// <summary>Address of its PUB socket, <c>host:port</c>. With data-parallel ranks, every rank has a port and is an engine of its
        /// own.</summary>
        public string Endpoint { get; set; } = "";

        /// <summary>Topic of its events. Default empty: all.</summary>
        public string Topic { get; set; } = "";

        /// <summary>Whose prompts it serves. Default <c>default</c>.</summary>
        public string Tenant { get; set; } = TenantRegistry.DefaultTenant;

        /// <summary>Name of its model, as in the namespaces.</summary>
        public string Model { get; set; } = "";

        /// <summary>Revision of its model, as in the namespaces. Default empty: any.</summary>
        public string Revision { get; set; } = "";

        /// <summary>A data-plane address of the silo beside it. Default empty: the silo on the same host, or none.</summary>
        public string Silo { get; set; } = "";
    }

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Publish.Length > 0 && !ListenAddress.TryParse(Publish, out _))
            yield return new ValidationResult(
                $"{Section}:Publish is '{Publish}'; {ListenAddress.Expected} 127.0.0.1:5557.", [nameof(Publish)]);
        foreach (var (name, engine) in Engines)
        {
            if (SiloEndpoint.TryParse("tcp:" + engine.Endpoint) is null)
                yield return new ValidationResult(
                    $"{Section}:Engines:{name}:Endpoint is '{engine.Endpoint}'; host:port was expected, for example 10.0.0.7:5557.",
                    [nameof(Engines)]);
            if (engine.Model.Length == 0)
                yield return new ValidationResult(
                    $"{Section}:Engines:{name}:Model is empty; the name of its model was expected, for engines do not tell it.",
                    [nameof(Engines)]);
        }
    }
}

/// <summary>Keeps the event socket of a silo without secrets on its own machine.</summary>
internal sealed class EventOptionsValidator(IOptions<TenantOptions> tenants) : IValidateOptions<EventOptions>
{
    public ValidateOptionsResult Validate(string? name, EventOptions options) =>
        tenants.Value.Tenants.Count == 0 && !ConnectionOptions.IsLoopback(options.Publish)
        ? ValidateOptionsResult.Fail(
            $"{EventOptions.Section}:Publish is {options.Publish}, which other machines can reach, and no tenant has a secret that its "
            + $"subscribers could prove. Set {TenantOptions.Section}:NAME:Secret, or listen on 127.0.0.1.")
        : ValidateOptionsResult.Success;
}
