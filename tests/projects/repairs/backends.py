"""What staff may do: owners everything in their workshop, mechanics what concerns their orders."""

from __future__ import annotations

from .models import Membership, RepairOrder

OF_MECHANICS = {
    "repairs.view_repairorder",
    "repairs.change_repairorder",
    "repairs.view_bicycle",
    "repairs.view_customer",
}


class StaffBackend:
    """Beside Django's own: it authenticates nobody."""

    def authenticate(self, request, **credentials):
        return None

    def has_perm(self, user, perm, obj=None):
        if not user.is_active or user.is_anonymous:
            return False
        memberships = Membership.objects.filter(user=user)
        if obj is None:
            return perm in OF_MECHANICS or memberships.filter(is_owner=True).exists()
        if memberships.filter(workshop=obj.workshop_id, is_owner=True).exists():
            return True
        if isinstance(obj, RepairOrder):
            return perm in OF_MECHANICS and obj.mechanic_id == user.pk
        return perm in OF_MECHANICS
