from __future__ import annotations

from rest_framework import permissions

from .models import Membership


class IsStaffOfWorkshop(permissions.IsAuthenticated):
    message = "You do not work here."

    def has_permission(self, request, view):
        return (
            super().has_permission(request, view)
            and Membership.objects.filter(user=request.user, workshop=request.workshop).exists()
        )


class ObjectPermissions(permissions.DjangoObjectPermissions):
    """Reading needs a permission, too."""

    perms_map = {
        **permissions.DjangoObjectPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
    }


class IsOwner(permissions.BasePermission):
    def has_permission(self, request, view):
        return Membership.objects.filter(
            user=request.user.pk, workshop=request.workshop, is_owner=True
        ).exists()
