using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace KvCache.Client.Hosting;

/// <summary>Which cache a health check asks.</summary>
internal sealed class HealthSettings
{
    /// <summary>Its key; null for the one without.</summary>
    public string? Cache { get; set; }

    /// <summary>Finds a cache that nobody has registered.</summary>
    public sealed class Validator(IServiceProviderIsKeyedService? services = null) : IValidateOptions<HealthSettings>
    {
        public ValidateOptionsResult Validate(string? name, HealthSettings options) =>
            CacheRegistration.FindMissing(services, $"The health check '{name}'", typeof(IKvCache), options.Cache) is { } problem
                ? ValidateOptionsResult.Fail(problem)
                : ValidateOptionsResult.Success;
    }
}
